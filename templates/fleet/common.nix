# What all robots of the fleet share.
{
  services.surefoot = {
    enable = true;
    repository = "https://updates.example.org/fleet";
    channel = "stable";
    trustAnchor = ./root.json;
    trustedPublicKeys = [ "fleet-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
    settings = {
      poll.interval = "15min";
      fetch.caches = [ "https://cache.example.org" ];
      health = {
        soak = "5min";
        deadline = "20min";
      };
      # Switch at night only, and only while the robot's own software says that it is free:
      # `surefoot lease mission --free`.
      gates = {
        leases = [ "mission" ];
        window = [
          {
            name = "night";
            from = "22:00";
            to = "05:00";
          }
        ];
      };
      control = {
        technician_group = "technicians";
        app_group = "robot";
      };
    };
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

  # A robot takes its name from the DHCP server.
  networking.hostName = "";
  system.stateVersion = "26.05";
}
