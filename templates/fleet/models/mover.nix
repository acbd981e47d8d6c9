# An ARM board with UEFI (EBBR), motors, lidar.
{
  # The generic SBSA watchdog of ARM servers and many industrial boards.
  services.surefoot.watchdog.modules = [ "sbsa_gwdt" ];
  boot.loader.efi.canTouchEfiVariables = false;
}
