{ config, pkgs, ... }:
let
  ros = config.services.ros2.pkgs;
  tools = ros.buildEnv {
    name = "ros2-health-env";
    paths = [
      ros.ros2cli
      ros.ros2node
      ros.ros2topic
      ros.std-msgs
    ];
  };
  # A node that runs is not yet a node that works: ask the graph for a message.
  chatters = pkgs.writeShellScript "chatters" ''
    export ROS_DOMAIN_ID=${toString config.services.ros2.domainId} ROS_HOME=/tmp/ros HOME=/tmp
    exec ${tools}/bin/ros2 topic echo --once /chatter std_msgs/msg/String
  '';
in
{
  services.ros2 = {
    enable = true;
    distro = "jazzy";
    domainId = 7;
    nodes = {
      talker = {
        package = "demo_nodes_cpp";
        node = "talker";
      };
      listener = {
        package = "demo_nodes_cpp";
        node = "listener";
      };
    };
  };

  services.surefoot = {
    enable = true;
    repository = "https://updates.example.org/fleet";
    channel = "stable";
    model = "ros2-robot";
    trustAnchor = ./root.json;
    trustedPublicKeys = [
      "fleet-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
      "ros.cachix.org-1:dSyZxI8geDCJrwgvCOHDoAfOm5sV1wCPjBkKL+38Rvo="
    ];
    watchdog.modules = [ "iTCO_wdt" ];

    # Whether it may be switched at any moment. A robot that moves or holds things says when instead:
    # settings.gates.leases = [ "mission" ], and its software runs `surefoot lease mission --free`.
    settings.gates.none = true;

    settings.health = {
      soak = "2min";
      deadline = "10min";
      required_units = [
        "talker.service"
        "listener.service"
      ];
      command = [
        {
          name = "chatter";
          exec = [ "${chatters}" ];
          timeout = "20s";
        }
      ];
    };
    # The robot's own software may hold updates while it works, and say when it is busy:
    # `surefoot lease gripper -- COMMAND`.
    settings.control.app_group = "ros";
  };

  boot.loader.systemd-boot = {
    enable = true;
    configurationLimit = 5;
  };
  boot.loader.efi.canTouchEfiVariables = true;
  boot.loader.timeout = 0;
  fileSystems = {
    "/" = {
      device = "/dev/disk/by-label/nixos";
      fsType = "ext4";
    };
    "/boot" = {
      device = "/dev/disk/by-label/BOOT";
      fsType = "vfat";
    };
  };

  networking.hostName = "ros2-robot";
  system.stateVersion = "26.05";
}
