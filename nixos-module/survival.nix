# A robot always reboots and never hangs: the watchdog, panics, and no shell that waits for a hand.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mkDefault mkIf mkMerge;
  cfg = config.services.surefoot;
  wd = cfg.watchdog;
  loaders = import ./loaders.nix { inherit config lib; };
  modules = if wd.modules == null then [ ] else wd.modules;

  # systemd's [Manager] settings are options of their own since 25.11.
  hasSettings = options.systemd ? settings && options.systemd.settings ? Manager;
  initrdHasSettings =
    options.boot.initrd.systemd ? settings && options.boot.initrd.systemd.settings ? Manager;

  seconds =
    text:
    let
      parts = builtins.match "([0-9]+)(s|min)" text;
    in
    lib.toInt (builtins.head parts) * (if lib.last parts == "min" then 60 else 1);
  lines =
    settings:
    lib.concatStrings (lib.mapAttrsToList (key: value: "${key}=${toString value}\n") settings);
  early = {
    RuntimeWatchdogSec = wd.timeout;
    RebootWatchdogSec = wd.rebootTimeout;
  }
  // lib.optionalAttrs (wd.device != null) { WatchdogDevice = wd.device; };
in
{
  config = mkIf cfg.enable (mkMerge [
    (mkIf wd.enable (mkMerge [
      (
        if hasSettings then
          {
            systemd.settings.Manager = {
              RuntimeWatchdogSec = mkDefault wd.timeout;
              RebootWatchdogSec = mkDefault wd.rebootTimeout;
              KExecWatchdogSec = mkDefault wd.rebootTimeout;
            }
            // lib.optionalAttrs (wd.device != null) { WatchdogDevice = mkDefault wd.device; };
          }
        else
          {
            systemd.watchdog = {
              device = mkIf (wd.device != null) (mkDefault wd.device);
              runtimeTime = mkDefault wd.timeout;
              rebootTime = mkDefault wd.rebootTimeout;
              kexecTime = mkDefault wd.rebootTimeout;
            };
          }
      )

      {
        boot.kernelParams = lib.optionals wd.noWayOut (map (module: "${module}.nowayout=1") modules);
        boot.kernelModules = modules;
      }

      (mkIf wd.early {
        boot.initrd.kernelModules = modules;
        boot.initrd.systemd = mkMerge [
          (
            if initrdHasSettings then
              { settings.Manager = lib.mapAttrs (_: mkDefault) early; }
            else
              { extraConfig = lines early; }
          )
          {
            # systemd feeds the watchdog as long as it lives itself. A unit that hangs in stage 1 must
            # end, too.
            targets.initrd.unitConfig = {
              JobTimeoutSec = mkDefault wd.rebootTimeout;
              JobTimeoutAction = mkDefault "reboot-force";
            };
          }
        ];
      })

      # The scripted stage 1 has no process that feeds a watchdog, and must not have one: what feeds
      # it would go on doing so while the boot hangs. So the time is set, and nobody stops the clock:
      # busybox' watchdog sets the timeout when it starts, and being killed it cannot disarm.
      # systemd of stage 2 takes over; the whole of stage 1 has to fit into the reboot timeout.
      # Later versions of NixOS have no scripted stage 1 any more.
      (lib.optionalAttrs (options.boot.initrd ? preDeviceCommands) {
        boot.initrd.preDeviceCommands = mkIf (wd.early && !config.boot.initrd.systemd.enable) ''
          wd=${if wd.device == null then "/dev/watchdog0" else wd.device}
          if [ -e "$wd" ]; then
            watchdog -F -T ${toString (seconds wd.rebootTimeout)} -t 3600 "$wd" &
            sleep 1
            kill -9 $! 2>/dev/null
          fi
        '';
      })
    ]))

    (mkMerge (map (loader: loader.config) loaders))

    (mkIf cfg.panic.enable {
      boot.kernelParams = [
        "panic=${toString cfg.panic.delay}"
        "oops=panic"
        # Stage 1 panics, and so reboots, where it would wait for somebody at the keyboard.
        "boot.panic_on_fail"
      ];
      boot.kernel.sysctl = {
        "kernel.panic" = mkDefault cfg.panic.delay;
        "kernel.panic_on_oops" = mkDefault 1;
        "kernel.softlockup_panic" = mkDefault 1;
        "kernel.hardlockup_panic" = mkDefault 1;
        "kernel.hung_task_panic" = mkDefault 1;
        # Slow storage may take its time; the kernel's own 120 s are for servers.
        "kernel.hung_task_timeout_secs" = mkDefault 240;
      };
      # A failed mount is not a reason to wait for a hand: boot on, and let the health checks judge.
      systemd.enableEmergencyMode = mkDefault false;
    })
  ]);
}
