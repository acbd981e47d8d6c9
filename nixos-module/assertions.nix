# What would cost a robot its footing is refused when its system is built, with words.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mkIf optional;
  cfg = config.services.surefoot;
  inherit (cfg) settings;
  inherit (config.boot) loader;
  inherit (import ./file-systems.nix { inherit config lib; }) volatile;

  loaders = import ./loaders.nix { inherit config lib; };
  used = lib.filter (loader: loader.enabled) loaders;
  choices = lib.concatMapStringsSep " or " (loader: loader.choice) loaders;

  # The confirmed system, those before it, and the one on trial.
  needed = settings.fetch.keep + 2;

  runtimeWatchdog =
    if options.systemd ? settings && options.systemd.settings ? Manager then
      config.systemd.settings.Manager.RuntimeWatchdogSec or null
    else
      config.systemd.watchdog.runtimeTime;
  off =
    value:
    value == null
    || lib.elem (toString value) [
      ""
      "0"
      "off"
    ];

  kernelParam = name: lib.elem name config.boot.kernelParams;

  # Whether nix-collect-garbage deletes every old generation with these options. Words are compared as a
  # whole, since --delete-older-than, which keeps the young ones, begins as --delete-old does; Nix takes
  # letters behind one dash together, so that -vd is -v and -d.
  deletesEveryGeneration =
    options:
    lib.any (
      word:
      lib.isString word
      && (word == "--delete-old" || builtins.match "-[[:alpha:]]*d[[:alpha:]]*" word != null)
    ) (builtins.split "[[:space:]\"']+" options);

  # Where the agent puts what has to be there at the next boot, whatever system that starts.
  etc = config.system.etc.overlay or { };
  etcIsFrozen = etc.enable or false && !(etc.mutable or true);

  initrd = config.boot.initrd;
  opensItself =
    name: device:
    device.keyFile != null
    || lib.any (lib.hasPrefix "tpm2-device=") device.crypttabExtraOpts
    || initrd.clevis.devices or { } ? ${name};
  passphrases = lib.attrNames (
    lib.filterAttrs (name: device: !opensItself name device) initrd.luks.devices
  );

  # As the agent's own `Gates::know_of_work`.
  activates = lib.any (gate: lib.elem "activate" gate.stages);
  gatesKnowOfWork =
    settings.gates.leases != [ ] || activates settings.gates.window || activates settings.gates.command;

  # Only a file of the configuration can be looked at here.
  anchor = if lib.isPath cfg.trustAnchor then cfg.trustAnchor else null;
  anchorIsThere = anchor != null && builtins.pathExists anchor;
in
{
  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = config.nix.enable;
        message = "services.surefoot brings store paths through the Nix daemon: set nix.enable = true.";
      }
      {
        assertion = config.system.switch.enable;
        message = "services.surefoot switches with the system's own switch-to-configuration: set system.switch.enable = true.";
      }
      {
        assertion = used != [ ] || cfg.allowLoaderWithoutFallback || settings.boot.accept_no_fallback;
        message = ''
          services.surefoot: this boot loader cannot start a system just once, so a kernel that does not
          boot has no automatic way back. Use ${choices}, or
          accept the risk with services.surefoot.allowLoaderWithoutFallback = true: updates that need a
          reboot then wait, unless services.surefoot.settings.boot.accept_no_fallback says otherwise.
        '';
      }
      {
        assertion = loader.timeout != null;
        message = "services.surefoot: boot.loader.timeout = null waits in the boot menu for a hand for ever; set it to 0 or a few seconds.";
      }
      {
        assertion = cfg.watchdog.enable -> !(off runtimeWatchdog);
        message = ''
          services.surefoot: systemd's RuntimeWatchdogSec is off, so a frozen robot stays frozen. Leave it to
          services.surefoot.watchdog.timeout, or say that you mean it with
          services.surefoot.watchdog.enable = false.
        '';
      }
      {
        assertion =
          !kernelParam "boot.shell_on_fail"
          && !(
            initrd.systemd.enable
            && !lib.elem initrd.systemd.emergencyAccess [
              false
              null
            ]
          );
        message = ''
          services.surefoot: an emergency shell in stage 1 waits for a hand for ever. Remove boot.shell_on_fail
          from boot.kernelParams, and boot.initrd.systemd.emergencyAccess.
        '';
      }
      {
        assertion = cfg.panic.enable -> !config.systemd.enableEmergencyMode;
        message = "services.surefoot: systemd's emergency mode waits for a hand for ever; set systemd.enableEmergencyMode = false.";
      }
      {
        assertion = !volatile settings.state_dir && !lib.hasPrefix "/run/" (toString settings.state_dir);
        message = ''
          services.surefoot: ${toString settings.state_dir} lies in memory: the journal would not survive a power cut.
          Give it a file system that persists.
        '';
      }
      {
        assertion = !config.system.autoUpgrade.enable;
        message = "services.surefoot and system.autoUpgrade would both switch this robot: disable system.autoUpgrade.";
      }
      {
        assertion = !(config.services.comin.enable or false);
        message = "services.surefoot and services.comin would both switch this robot: enable only one.";
      }
      {
        assertion = lib.all (name: builtins.match "[A-Za-z0-9_.-]+" name != null) (
          lib.attrNames cfg.credentials
        );
        message = "services.surefoot.credentials: names are made of A-Z a-z 0-9 . _ -";
      }
      {
        assertion = !lib.any (lib.hasPrefix builtins.storeDir) (lib.attrValues cfg.credentials);
        message = "services.surefoot.credentials: the Nix store is not a place for a secret, everybody can read it.";
      }
      {
        assertion = cfg.trustAnchor != null || settings.root != "/etc/surefoot/root.json";
        message = ''
          services.surefoot needs a trust anchor: set trustAnchor to the metadata/1.root.json that
          `surefoot repo init` made. If the file is put on the robot by other means, say where in
          settings.root (not in /etc/surefoot/root.json).
        '';
      }
      {
        assertion = anchor == null || anchorIsThere;
        message = "services.surefoot.trustAnchor: there is no ${toString anchor}. A flake sees only files that git knows: git add it.";
      }
      {
        assertion = anchorIsThere -> (lib.importJSON anchor).signed._type or null == "root";
        message = ''
          services.surefoot.trustAnchor: ${toString anchor} is not root metadata, so the robot would believe nobody.
          Put the metadata/1.root.json there that `surefoot repo init` made.
        '';
      }
    ]
    ++ lib.concatMap (
      { limit, refusal, ... }:
      [
        {
          assertion = refusal == null || cfg.allowLoaderWithoutFallback;
          message = refusal;
        }
        {
          assertion = limit == null || limit == 0 || limit >= needed;
          message = ''
            services.surefoot: the boot loader keeps ${toString limit} generations, but the confirmed one, the
            ${toString settings.fetch.keep} before it (settings.fetch.keep) and the one on trial make ${toString needed}. Raise its
            configurationLimit to ${toString needed} or more, and make sure that the boot partition has room for
            ${toString (needed + 1)} kernels: the old ones go only after the new one is there.
          '';
        }
      ]
    ) used;

    warnings =
      optional (!cfg.watchdog.enable) ''
        services.surefoot: without a watchdog, a trial that freezes the robot is not undone until somebody
        cuts its power.
      ''
      ++ optional (etcIsFrozen || volatile "/etc") ''
        services.surefoot: /etc ${
          if etcIsFrozen then "cannot be written" else "lies in memory"
        }, so the deadline of a boot on trial cannot be put into
        /etc/systemd/system.control: updates that need a reboot will be refused. Give /etc (or
        /etc/systemd/system.control) a file system that persists.
      ''
      ++ optional (passphrases != [ ]) ''
        services.surefoot: a boot waits for somebody who types the passphrase of ${lib.concatStringsSep ", " passphrases},
        a boot on trial and the way back from it, too. Let a TPM (crypttabExtraOpts), clevis or a key file
        open it.
      ''
      ++ optional (cfg.watchdog.enable && cfg.watchdog.early && cfg.watchdog.modules == null) ''
        services.surefoot: name the watchdog's driver in services.surefoot.watchdog.modules, or say with the
        empty list that it is built into the kernel. Loaded late, it does not undo a new kernel that hangs
        before systemd runs.
      ''
      ++ optional (!gatesKnowOfWork && !settings.gates.none) ''
        services.surefoot: nothing keeps the robot from being switched or rebooted while it works. Name in
        settings.gates.leases what has to say that the robot is free, or say that it may be switched at any
        moment: settings.gates.none = true.
      ''
      ++ optional (settings.gates.leases != [ ] && settings.control.app_group == null) ''
        services.surefoot: the robot's software is to say by leases that the robot is free
        (settings.gates.leases), but settings.control.app_group names nobody who may: only root and
        technicians can, and the robot waits for them.
      ''
      ++ optional (settings.fetch.signatures == "nix" && cfg.trustedPublicKeys == [ ]) ''
        services.surefoot: the Nix daemon is to check signatures (settings.fetch.signatures = "nix"), but
        services.surefoot.trustedPublicKeys names no key of yours: it will refuse what your cache signed.
      ''
      ++ optional (config.nix.gc.automatic && deletesEveryGeneration config.nix.gc.options) ''
        services.surefoot: nix.gc.options deletes all old generations. What was confirmed stays in the store,
        but leaves the boot menu. Prefer --delete-older-than.
      '';
  };
}
