{ pkgs, ... }:
{
  services.surefoot = {
    enable = true;
    repository = "https://updates.example.org/fleet"; # `surefoot repo init` makes it
    channel = "stable";
    model = "robot";
    trustAnchor = ./root.json; # metadata/1.root.json of the repository
    trustedPublicKeys = [ "fleet-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
    watchdog.modules = [ "iTCO_wdt" ]; # what `wdctl` calls it on your machine

    # Whether it may be switched at any moment. A robot that moves or holds things says when instead:
    # settings.gates.leases = [ "mission" ], and its software runs `surefoot lease mission --free`.
    settings.gates.none = true;

    # A new system is kept only if all of this holds for the whole soak.
    settings.health = {
      soak = "2min";
      deadline = "10min";
      required_units = [ "robot.service" ];
      http = [
        {
          name = "web";
          url = "http://localhost:8080/";
        }
      ];
    };
    settings.control.technician_group = "technicians";
  };

  # What this robot is for.
  systemd.services.robot = {
    description = "The robot's own software";
    wantedBy = [ "multi-user.target" ];
    serviceConfig = {
      ExecStart = "${pkgs.python3}/bin/python3 -m http.server --directory /var/empty 8080";
      DynamicUser = true;
      Restart = "always";
    };
  };

  users.users.technician = {
    isNormalUser = true;
    extraGroups = [ "technicians" ];
    openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA… you@example.org" ];
  };
  services.openssh.enable = true;

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

  networking.hostName = "robot";
  system.stateVersion = "26.05";
}
