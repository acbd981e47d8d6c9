# `nix run .#demo`: what packaging/demo plays, with every tool from nixpkgs.
#
# The robot is a Debian in a container: it comes from Debian's mirror when it is run first, and is
# kept below $XDG_CACHE_HOME. The programs that run on it are static, since it has no Nix store of
# ours.
{
  lib,
  stdenvNoCC,
  pkgsStatic,
  writeShellApplication,
  bash,
  binutils-unwrapped,
  cacert,
  coreutils,
  debian-archive-keyring,
  findutils,
  gawk,
  gnugrep,
  gnused,
  inetutils, # hostname
  iproute2,
  jq,
  mmdebstrap,
  python3,
  util-linux,
}:
let
  root = ../..;

  programs = pkgsStatic.surefoot.overrideAttrs (old: {
    pname = "surefoot-demo-programs";
    outputs = [ "out" ];
    cargoBuildFlags = old.cargoBuildFlags ++ [ "--package=surefoot-tests" ];
    doCheck = false;
    postInstall = "";
  });

  # What starts the robot and makes its systems, as tests/rig has it. Only what runs on this machine
  # gets this machine's shell: the rest belongs to the robot.
  rig = stdenvNoCC.mkDerivation {
    name = "surefoot-rig";
    src = lib.fileset.toSource {
      inherit root;
      fileset = lib.fileset.unions [
        (root + "/packaging/systemd")
        (root + "/tests/rig")
      ];
    };
    dontFixup = true;
    installPhase = ''
      cp -r . $out
      chmod -R u+w $out
      cd $out/tests/rig
      patchShebangs --build container nix rootfs toplevel/build toplevel/install
      keyring=$(echo ${debian-archive-keyring}/share/keyrings/debian-archive-keyring.[gp]*)
      substituteInPlace debian.sh \
        --replace-fail /usr/share/keyrings/debian-archive-keyring.gpg "''${keyring%% *}"
    '';
  };
in
writeShellApplication {
  name = "surefoot-demo";
  runtimeInputs = [
    bash
    binutils-unwrapped
    coreutils
    findutils
    gawk
    gnugrep
    gnused
    inetutils
    iproute2
    jq
    mmdebstrap
    python3
    util-linux
  ];
  text = ''
    cache=''${XDG_CACHE_HOME:-$HOME/.cache}
    if [ "$(id -u)" != 0 ]; then
      echo "surefoot-demo: a robot in a container needs root" >&2
      exec sudo "$(type -P env)" XDG_CACHE_HOME="$cache" "$0" "$@"
    fi
    export SUREFOOT_SOURCE=${rig}
    export SUREFOOT_RIG_CACHE=$cache/surefoot
    export SSL_CERT_FILE=''${SSL_CERT_FILE:-${cacert}/etc/ssl/certs/ca-bundle.crt}
    mkdir -p "$SUREFOOT_RIG_CACHE"
    exec ${programs}/bin/surefoot-demo "$@"
  '';
  meta.description = "What Surefoot does, played on a robot in a container";
}
