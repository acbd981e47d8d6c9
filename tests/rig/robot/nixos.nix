# Makes a NixOS configuration a robot of the rig: it can be driven from outside, follows the rig's
# fleet, and has the faults that the scenarios ask for. The options are the arguments of
# ../toplevel/default.nix.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkIf mkOption types;
  cfg = config.rig;
  text = default: description: mkOption {
    type = types.str;
    inherit default description;
  };
  broken = pkgs.writeShellScriptBin "surefootd" ''
    [ "$1" != --check-config ] || exit 0
    exit 1
  '';
in
{
  imports = [ ../../../nixos-module ];

  options.rig = {
    name = text "a" "The generation's name.";
    service = text "good" "What the robot's application does.";
    startTimeout = text "10min" "How long the application's start may take.";
    stage2 = text "good" "What happens before systemd.";
    agent = text "good" "Whether the agent is there, and starts.";
    params = text "" "More parameters of the kernel.";
    config = mkOption {
      type = types.path;
      description = "The agent's configuration, TOML.";
    };
    anchor = mkOption {
      type = types.path;
      description = "The fleet's trust anchor.";
    };
  };

  config = {
    system.nixos.label = "robot-${cfg.name}";
    boot.kernelParams = lib.filter (word: word != "") (lib.splitString " " cfg.params);

    services.surefoot = mkIf (cfg.agent != "missing") {
      enable = true;
      package = mkIf (cfg.agent == "broken") (lib.mkForce broken);
      trustAnchor = cfg.anchor;
      settings = builtins.fromTOML (builtins.readFile cfg.config);
      watchdog = {
        modules = [ "i6300esb" ];
        # An emulated processor stands still now and then.
        timeout = "60s";
        rebootTimeout = "90s";
      };
      panic.delay = 5;
    };

    # In stage 2, before systemd.
    boot.postBootCommands = {
      good = "";
      hangs = "while :; do sleep 3600; done";
      panics = "exit 1";
    }.${cfg.stage2};

    systemd.services.robot = mkIf (cfg.service != "none") {
      description = "The robot's application (${cfg.name})";
      wantedBy = [ "multi-user.target" ];
      path = [ pkgs.iproute2 ];
      script = {
        good = "echo ${cfg.name} is up; exec sleep infinity";
        fails = "echo ${cfg.name} cannot find its motor >&2; exit 1";
        silent = "echo ${cfg.name} does not get ready; exec sleep infinity";
        panics = "sync; echo c >/proc/sysrq-trigger";
        freezes = "echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze; exec sleep infinity";
        clings = "trap : TERM; while :; do sleep 1; done";
        offline = "while :; do ip link set eth0 down; sleep 1; done";
      }.${cfg.service};
      serviceConfig = {
        Type = {
          fails = "oneshot";
          silent = "notify";
        }.${cfg.service} or "exec";
        TimeoutStartSec = cfg.startTimeout;
        TimeoutStopSec = if cfg.service == "clings" then "infinity" else "20s";
      };
    };

    systemd.services.rig-control = {
      description = "Control from outside";
      wantedBy = [ "sysinit.target" ];
      bindsTo = [ ''dev-virtio\x2dports-rig.control.device'' ];
      after = [ ''dev-virtio\x2dports-rig.control.device'' ];
      restartIfChanged = false;
      unitConfig = {
        DefaultDependencies = false;
        StartLimitIntervalSec = 0;
      };
      path = [ config.system.path ];
      environment = {
        HOME = "/root";
        NIX_REMOTE = "daemon";
      };
      serviceConfig = {
        ExecStart = "${pkgs.python3}/bin/python3 -Su ${./control.py}";
        Restart = "always";
      };
    };
    services.udev.extraRules = ''
      SUBSYSTEM=="virtio-ports", ATTR{name}=="rig.control", SYMLINK+="virtio-ports/rig.control", TAG+="systemd"
    '';

    networking = {
      useDHCP = false;
      usePredictableInterfaceNames = false;
      interfaces.eth0.ipv4.addresses = [
        {
          address = "10.0.2.15";
          prefixLength = 24;
        }
      ];
      defaultGateway = {
        address = "10.0.2.2";
        interface = "eth0";
      };
    };
    services.journald.storage = "persistent";
  };
}
