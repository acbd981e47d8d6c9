# The options alone: nothing here needs the rest of NixOS, so the reference is made from this file.
{ lib, pkgs, ... }:
let
  inherit (lib)
    literalExpression
    mkEnableOption
    mkOption
    mkPackageOption
    types
    ;
  schema = import ./schema.nix { inherit lib; };
  # What most robots set is offered at the top as well.
  shortcut =
    key: text:
    mkOption {
      type = types.nullOr (schema.optionOf "" key).type;
      default = null;
      example = text.example;
      description = text.description + "\n\nShort for {option}`services.surefoot.settings.${key}`.";
    };
in
{
  options.services.surefoot = {
    enable = mkEnableOption "Surefoot, over-the-air updates that always keep their footing";

    package = mkPackageOption pkgs "surefootd" { };

    cliPackage = mkPackageOption pkgs "surefoot" {
      extraDescription = "What technicians type on the robot. `null` leaves it out.";
      nullable = true;
    };

    repository = shortcut "repository" {
      example = "https://updates.example.org/fleet";
      description = "The signed repository that this robot gets its releases from.";
    };
    channel = shortcut "channel" {
      example = "stable";
      description = "The channel of the repository that this robot follows.";
    };
    model = shortcut "model" {
      example = "picker";
      description = "The model of this robot: a release has one system for each model.";
    };
    labels = shortcut "labels" {
      example = [ "site=hall-3" ];
      description = "What tells this robot apart from others of its model: a release may be for some values only.";
    };

    trustAnchor = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = literalExpression "./root.json";
      description = ''
        The root metadata that this robot comes with: `metadata/1.root.json` of the repository, as
        `surefoot repo init` made it. It names the fleet's keys and is not a secret. It is put at
        {file}`/etc/surefoot/root.json`.

        With `null`, provide the file yourself and say where in
        {option}`services.surefoot.settings.root`.
      '';
    };

    trustedPublicKeys = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "fleet-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
      description = ''
        Public keys of the binary caches, for the Nix daemon. Needed unless
        {option}`services.surefoot.settings.fetch.signatures` is `"manifest"`: then the signed
        manifest alone vouches for what enters the store.
      '';
    };

    credentials = mkOption {
      # Not a path: that would copy the secret into the store, where everybody can read it.
      type = types.attrsOf (types.strMatching "/.+");
      default = { };
      example = {
        netrc = "/var/lib/secrets/surefoot.netrc";
      };
      description = ''
        Secrets for the agent, by name: files on the robot, outside of the Nix store. They are handed
        over as systemd credentials; where a setting asks for a file with a secret, say `"NAME"`.

        A file that is missing gives a credential of one empty line: a robot without a secret may be without its
        cache, but must not be without its agent. A changed file is read when the agent starts again.
      '';
    };

    watchdog = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = ''
          Whether systemd feeds the hardware watchdog, so that a frozen robot resets by itself. Not
          without reason to be turned off: a trial that hangs then needs a hand to end.
        '';
      };
      modules = mkOption {
        type = types.nullOr (types.listOf types.str);
        default = null;
        example = [ "iTCO_wdt" ];
        description = ''
          Kernel modules of the watchdog: `iTCO_wdt` (Intel), `sp5100_tco` (AMD), `bcm2835_wdt`
          (Raspberry Pi), `i6300esb` (QEMU); `wdctl` shows the one that is there. They are loaded in
          the initrd, so that a hang before stage 2 is caught as well. The empty list says that the
          driver is built into the kernel.

          `softdog` is a last resort: a kernel that hangs takes it along.
        '';
      };
      device = mkOption {
        type = types.nullOr types.path;
        default = null;
        example = "/dev/watchdog1";
        description = "The watchdog, if the machine has several. With `null`, systemd takes {file}`/dev/watchdog0`.";
      };
      timeout = mkOption {
        type = types.strMatching "[0-9]+(s|min)";
        default = "30s";
        example = "15s";
        description = ''
          The robot resets when systemd did not feed the watchdog for this long. Hardware has limits:
          `bcm2835_wdt` 15 s, for example; systemd then takes the longest there is.
        '';
      };
      rebootTimeout = mkOption {
        type = types.strMatching "[0-9]+(s|min)";
        default = "10min";
        description = "The robot resets when a shutdown or reboot takes longer.";
      };
      early = mkOption {
        type = types.bool;
        default = true;
        description = ''
          Whether the watchdog is armed in the initrd already. Without it a new kernel that hangs
          before systemd runs is never reset.
        '';
      };
      noWayOut = mkOption {
        type = types.bool;
        default = true;
        description = ''
          Whether the drivers in {option}`services.surefoot.watchdog.modules` are told that a running
          watchdog must not be stopped any more (`nowayout=1`). It closes the gap between stage 1 and
          stage 2, when one systemd hands over to the next.
        '';
      };
    };

    panic = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = ''
          Whether the kernel reboots, instead of stopping, when it panics, and panics when it oopses,
          locks up or cannot reach the root file system.
        '';
      };
      delay = mkOption {
        type = types.ints.between 1 300;
        default = 10;
        description = "Time from a panic to the reboot, in seconds: long enough to read it on a screen.";
      };
    };

    allowLoaderWithoutFallback = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether a boot loader is accepted that cannot start a system just once. Such a robot has no
        automatic way back from a kernel that does not boot. Updates that need a reboot wait, unless
        {option}`services.surefoot.settings.boot.accept_no_fallback` is set, too.
      '';
    };

    settings = mkOption {
      type = schema.settings;
      default = { };
      example = {
        poll.interval = "5min";
        health.required_units = [ "robot.service" ];
      };
      description = ''
        The configuration, {file}`/etc/surefoot/config.toml`. Every key of the configuration reference
        is an option here, with its type, range and default. Unknown keys are refused: a robot must
        not come to a halt over a typo.
      '';
    };
  };
}
