# The flake's checks, on the nixpkgs of the flake: for a machine with Nix, KVM and a network.
{ pkgs, surefoot }:
let
  inherit (pkgs) lib;
  evaluate =
    modules:
    import (pkgs.path + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = modules ++ [
        {
          nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system;
          nixpkgs.overlays = [ surefoot.overlays.default ];
        }
      ];
    };
  failed = lib.filter (case: !case.ok) (import ./cases.nix { inherit lib evaluate; });
in
{
  # By evaluation alone; the same cases as tests/nixos/eval.
  module = pkgs.runCommand "surefoot-module" { } (
    if failed == [ ] then
      "touch $out"
    else
      throw "the module does not do what it must:\n${
        lib.concatMapStringsSep "\n" (case: "- ${case.name}") failed
      }"
  );
}
# The tests in virtual machines need KVM and QEMU's i6300esb, so a PC.
// lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 (
  lib.mapAttrs (_: pkgs.testers.runNixOSTest) (import ./vm.nix { inherit surefoot; })
)
