# The least that is a robot: what the module adds to this is what is looked at.
{
  networking.hostName = "robot";
  system.stateVersion = "25.11";
  boot.loader.systemd-boot = {
    enable = true;
    configurationLimit = 10;
  };
  fileSystems."/" = {
    device = "/dev/vda2";
    fsType = "ext4";
  };
  fileSystems."/boot" = {
    device = "/dev/vda1";
    fsType = "vfat";
  };
  services.surefoot = {
    enable = true;
    repository = "https://updates.example.org/fleet";
    channel = "stable";
    model = "picker";
    trustAnchor = "/etc/nixos/root.json";
    trustedPublicKeys = [ "fleet-1:AAAA" ];
    watchdog.modules = [ "i6300esb" ];
  };
}
