{
  description = "Surefoot: over-the-air NixOS updates for robots that always keep their footing";

  inputs.nixpkgs.url = "github:nixos/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      eachSystem = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      pkgsFor = system: nixpkgs.legacyPackages.${system}.extend self.overlays.default;
    in
    {
      overlays.default = import ./packaging/nix/overlay.nix;

      nixosModules.default =
        { lib, pkgs, ... }:
        let
          inherit (pkgs.stdenv) buildPlatform hostPlatform;
          # Built with our own nixpkgs, so that it is what was tested; what is cross-compiled, or of a
          # kind that we have no packages for, with the robot's.
          native = buildPlatform.system == hostPlatform.system && self.packages ? ${hostPlatform.system};
          ours = if native then self.packages.${hostPlatform.system} else pkgs.extend self.overlays.default;
        in
        {
          imports = [ ./nixos-module ];
          services.surefoot = {
            package = lib.mkDefault ours.surefootd;
            cliPackage = lib.mkDefault ours.surefoot;
          };
        };

      packages = eachSystem (
        system:
        let
          pkgs = pkgsFor system;
        in
        {
          inherit (pkgs) surefoot surefootd surefoot-demo;
          default = pkgs.surefoot;
          static = pkgs.pkgsStatic.surefoot;
        }
        // lib.optionalAttrs (system == "x86_64-linux") {
          surefootd-armv7l = pkgs.pkgsCross.armv7l-hf-multiplatform.surefootd;
          surefootd-aarch64 = pkgs.pkgsCross.aarch64-multiplatform.surefootd;
          static-aarch64 = pkgs.pkgsCross.aarch64-multiplatform-musl.pkgsStatic.surefoot;
        }
      );

      apps = eachSystem (system: {
        default = {
          type = "app";
          program = lib.getExe self.packages.${system}.surefoot;
          meta.description = "The surefoot command line";
        };
        demo = {
          type = "app";
          program = lib.getExe (pkgsFor system).surefoot-demo;
          meta.description = "The whole story, on a robot in a container: asks for root";
        };
      });

      checks = eachSystem (
        system:
        let
          pkgs = pkgsFor system;
        in
        {
          inherit (self.packages.${system}) surefoot surefootd;
        }
        // import ./tests/nixos/checks.nix {
          inherit pkgs;
          surefoot = self;
        }
      );

      devShells = eachSystem (
        system:
        let
          pkgs = pkgsFor system;
        in
        {
          default = pkgs.mkShell {
            inputsFrom = [ pkgs.surefoot ];
            packages = with pkgs; [
              cargo-deny
              cargo-nextest
              clippy
              mdbook
              nixfmt
              rust-analyzer
              rustfmt
              shellcheck
            ];
          };
        }
      );

      formatter = eachSystem (system: (pkgsFor system).nixfmt);

      templates = {
        default = self.templates.minimal;
        minimal = {
          path = ./templates/minimal;
          description = "One robot that updates itself from a signed repository";
        };
        ros2 = {
          path = ./templates/ros2;
          description = "A robot with ROS 2 Jazzy, from nix-ros-overlay";
        };
        jetson-orin = {
          path = ./templates/jetson-orin;
          description = "An NVIDIA Jetson Orin, with jetpack-nixos";
        };
        fleet = {
          path = ./templates/fleet;
          description = "Several robots of several models, built and published by CI";
        };
      };
    };
}
