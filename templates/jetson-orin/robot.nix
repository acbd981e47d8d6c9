{
  hardware.nvidia-jetpack = {
    enable = true;
    som = "orin-nx";
    carrierBoard = "devkit";
    # A firmware capsule is installed at the next boot, trial or not, and firmware refuses to go back
    # to an older L4T. Update firmware by hand, robot by robot, before a release needs it.
    firmware.autoUpdate = false;
  };
  hardware.graphics.enable = true;

  services.surefoot = {
    enable = true;
    repository = "https://updates.example.org/fleet";
    channel = "stable";
    model = "orin-nx";
    trustAnchor = ./root.json;
    trustedPublicKeys = [ "fleet-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
    watchdog = {
      modules = [ ]; # NVIDIA's kernels have the driver of Tegra's watchdog built in
      timeout = "60s";
    };
    # Whether it may be switched at any moment. A robot that moves or holds things says when instead:
    # settings.gates.leases = [ "mission" ], and its software runs `surefoot lease mission --free`.
    settings.gates.none = true;

    settings.health = {
      soak = "3min";
      deadline = "15min";
      required_units = [ "nvpmodel.service" ];
      # The fan is driven by a service that some carrier boards do without.
      ignore_units = [ "nvfancontrol.service" ];
    };
  };

  # UEFI of these boards keeps its variables in flash and lets Linux write them (not so on Xavier
  # AGX): systemd-boot's one-shot works.
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

  networking.hostName = "orin";
  system.stateVersion = "26.05";
}
