# The daemon and the CLI, built together, installed apart: a robot carries only what it needs.
{
  lib,
  rustPlatform,
  cmake,
  installShellFiles,
  stdenv,
}:
let
  root = ../..;
  manifest = lib.importTOML (root + "/Cargo.toml");
in
rustPlatform.buildRustPackage {
  pname = "surefoot";
  inherit (manifest.workspace.package) version;

  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions (
      [
        (root + "/Cargo.toml")
        (root + "/Cargo.lock")
        (root + "/clippy.toml")
        (root + "/docs/src")
        (root + "/nixos-module/loaders.nix")
        (root + "/nixos-module/schema.json")
        (root + "/packaging/man")
        (root + "/packaging/systemd")
        (root + "/tests/recorded")
      ]
      # The crates.
      ++ map (member: root + "/${member}") manifest.workspace.members
    );
  };
  cargoLock.lockFile = root + "/Cargo.lock";

  # aws-lc, where it has no ready-made description of the target.
  nativeBuildInputs = [
    cmake
    installShellFiles
    rustPlatform.bindgenHook
  ];
  dontUseCmakeConfigure = true;

  cargoBuildFlags = [
    "--package=surefootd"
    "--package=surefoot"
  ];
  # The rest needs robots in containers, or a network.
  cargoTestFlags = [
    "--package=surefoot-api"
    "--package=surefoot-base"
    "--package=surefoot-core"
    "--package=surefoot-sim"
    "--package=surefootd"
  ];

  outputs = [
    "out"
    "daemon"
  ];
  postInstall = ''
    moveToOutput bin/surefootd "$daemon"
    install -Dm644 agent/core/formats.json "$daemon/share/surefoot/formats.json"
    for unit in packaging/systemd/*; do
      install -Dm644 "$unit" "$daemon/lib/systemd/system/''${unit##*/}"
      substituteInPlace "$daemon/lib/systemd/system/''${unit##*/}" \
        --replace-quiet /usr/bin/surefootd "$daemon/bin/surefootd" \
        --replace-quiet /usr/bin/surefoot "$out/bin/surefoot"
    done
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    "$out/bin/surefoot" man man
    "$daemon/bin/surefootd" --config-man >man/surefoot-config.5
    installManPage man/* packaging/man/*
    for shell in bash fish zsh; do
      "$out/bin/surefoot" completions $shell >surefoot.$shell
    done
    installShellCompletion surefoot.{bash,fish,zsh}
  '';

  meta = {
    description = "Over-the-air NixOS updates for robots that always keep their footing";
    homepage = manifest.workspace.package.repository;
    license = with lib.licenses; [
      asl20
      mit
    ];
    mainProgram = "surefoot";
    platforms = lib.platforms.linux;
  };
}
