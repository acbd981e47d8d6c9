# The agent: its configuration, its units, its groups, and what it needs of Nix.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkDefault mkIf;
  cfg = config.services.surefoot;
  units = import ./units.nix { inherit lib; };

  # As jetpack-nixos decides it (modules/capsule-updates.nix); options that are not there mean no.
  jetpack = config.hardware.nvidia-jetpack or { };
  stagesFirmware =
    (jetpack.enable or false)
    && (jetpack.firmware.autoUpdate or false)
    && (jetpack.som or "generic") != "generic"
    && (jetpack.flashScriptOverrides.targetBoard or null) != null;

  written = (pkgs.formats.toml { }).generate "surefoot.toml" (
    lib.filterAttrsRecursive (_: value: value != null) cfg.settings
  );

  # The agent judges its own configuration while the system is built, not on the robot. That cannot
  # be done for a machine of another kind; then the types of the options have to be enough.
  checked = pkgs.runCommand "surefoot-config.toml" { passthru = { inherit written; }; } ''
    ${cfg.package}/bin/surefootd --check-config --config ${written}
    cp ${written} $out
  '';
  configFile =
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then checked else written;

  # Where the unit files expect programs, and where NixOS has them.
  place =
    builtins.replaceStrings
      [
        "/usr/bin/surefootd"
        "/usr/bin/surefoot"
        "/bin/kill"
      ]
      [
        "${cfg.package}/bin/surefootd"
        (if cfg.cliPackage == null then "/usr/bin/surefoot" else "${cfg.cliPackage}/bin/surefoot")
        "${pkgs.coreutils}/bin/kill"
      ];
  directory = ../packaging/systemd;
  ofType =
    ending:
    lib.mapAttrs' (file: _: {
      name = lib.removeSuffix ending file;
      value = units.options place (builtins.readFile (directory + "/${file}"));
    }) (lib.filterAttrs (file: _: lib.hasSuffix ending file) (builtins.readDir directory));

  # Directories that the unit files do not know.
  stateElsewhere = lib.remove "/var/lib/surefoot" [ cfg.settings.state_dir ];
  textfile = cfg.settings.metrics.textfile;
  publicElsewhere = lib.remove "/run/surefoot" (
    lib.unique ([ (dirOf cfg.settings.socket) ] ++ lib.optional (textfile != null) (dirOf textfile))
  );
  elsewhere = stateElsewhere ++ publicElsewhere;

  groups = lib.filter (group: group != null) [
    cfg.settings.control.technician_group
    cfg.settings.control.app_group
  ];
in
{
  config = mkIf cfg.enable {
    services.surefoot.settings = {
      repository = mkIf (cfg.repository != null) cfg.repository;
      channel = mkIf (cfg.channel != null) cfg.channel;
      model = mkIf (cfg.model != null) cfg.model;
      labels = mkIf (cfg.labels != null) cfg.labels;
    };

    environment.etc."surefoot/config.toml".source = configFile;
    # What the agent of another system has to know of this one: docs/src/formats.md.
    environment.etc."surefoot/formats.json".source = "${cfg.package}/share/surefoot/formats.json";
    environment.etc."surefoot/root.json" = mkIf (cfg.trustAnchor != null) {
      source = cfg.trustAnchor;
    };
    environment.systemPackages = lib.optional (cfg.cliPackage != null) cfg.cliPackage;

    users.groups = lib.genAttrs groups (_: { });

    systemd.services = lib.mkMerge [
      (ofType ".service")
      # A new configuration is read without a restart: a restart is what the switch must never do.
      { surefootd.reloadTriggers = [ configFile ]; }
      (mkIf (cfg.credentials != { }) {
        surefootd.serviceConfig = {
          LoadCredential = lib.mapAttrsToList (name: file: "${name}:${file}") cfg.credentials;
          # What it is when its file is missing; otherwise the agent would not start. It must say something.
          SetCredential = map (name: "${name}:\\n") (lib.attrNames cfg.credentials);
        };
      })
      # systemd calls a boot good as soon as boot-complete.target is reached, long before a boot on trial
      # has proven itself. That is the agent's to say: as long as its deadline lies there, nobody else
      # does. A unit that waits for the verdict would be worse, see docs/src/boot-trials.md.
      {
        systemd-bless-boot = {
          overrideStrategy = "asDropin";
          unitConfig.ConditionPathExists = "!/etc/systemd/system.control/surefoot-deadline.timer";
        };
      }
      # Nor does jetpack-nixos stage a capsule of firmware in a trial: the next reset would apply it, whatever
      # system that ends on. The commit's installer does.
      (mkIf stagesFirmware {
        firmware-update.unitConfig.ConditionPathExists = "!/etc/systemd/system.control/surefoot-deadline.timer";
      })
      # The unit files know the places that the configuration has by default.
      (mkIf (elsewhere != [ ]) {
        surefootd.serviceConfig.ReadWritePaths = [ "-/nix/var/nix/gcroots" ] ++ elsewhere;
        surefootd.unitConfig.RequiresMountsFor = elsewhere;
      })
    ];
    systemd.timers = ofType ".timer";
    systemd.targets = ofType ".target";

    systemd.tmpfiles.rules = [
      # The agent's garbage collector roots; its service may write here and nowhere else in /nix.
      "d /nix/var/nix/gcroots/surefoot 0755 root root -"
      # The switcher makes its lock readable for everybody, and whoever can read a file can hold its lock:
      # any user could keep the robot from switching, and from going back.
      "d /run/nixos 0755 root root -"
      "f /run/nixos/switch-to-configuration.lock 0600 root root -"
    ]
    ++ map (directory: "d ${directory} 0700 root root -") stateElsewhere
    ++ map (directory: "d ${directory} 0755 root root -") publicElsewhere;

    nix.settings = {
      trusted-public-keys = cfg.trustedPublicKeys;
      # A power cut must not leave store paths that are valid but empty.
      fsync-store-paths = mkDefault true;
    };
  };
}
