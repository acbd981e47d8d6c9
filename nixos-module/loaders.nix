# The boot loaders that can start a system just once, as the agent knows them
# (agent/daemon/src/boot/loaders): the one list that the module asks.
#
#   name     its word in settings.boot.loader
#   enabled  whether it starts this system
#   choice   how people choose it, for a message
#   limit    how many generations it keeps; null or 0 where it keeps all
#   refusal  why its one-shot cannot work on this system, for people; null where nothing speaks
#            against it
#   config   what it has to be told, whether it starts this system or not
{ config, lib }:
let
  inherit (config.boot) loader;
  inherit (import ./file-systems.nix { inherit config lib; }) fsType;

  lanzaboote = config.boot.lanzaboote.enable or false;

  grubWrites = [
    "ext2"
    "ext3"
    "ext4"
    "vfat"
    "unknown"
    "auto"
  ];
in
[
  {
    name = "systemd-boot";
    enabled = loader.systemd-boot.enable || lanzaboote;
    choice = "systemd-boot (boot.loader.systemd-boot.enable)";
    limit =
      if lanzaboote then
        config.boot.lanzaboote.configurationLimit or loader.systemd-boot.configurationLimit
      else
        loader.systemd-boot.configurationLimit;
    refusal =
      if lanzaboote then
        ''
          services.surefoot: lanzaboote's entries are images that the agent cannot read yet, and its installer makes
          the newest generation the default, whatever it is told: a failed trial would not end on the confirmed
          system. Use systemd-boot without lanzaboote.
        ''
      else
        null;
    config = { };
  }
  {
    name = "grub";
    enabled = loader.grub.enable;
    choice = "GRUB";
    limit = loader.grub.configurationLimit;
    refusal =
      if lib.elem (fsType "/boot") grubWrites then
        null
      else
        ''
          services.surefoot: /boot is on ${fsType "/boot"}, where GRUB cannot write its environment. A
          one-shot would never be cleared: a boot loop. Put /boot on ext4 or FAT of its own, or use
          systemd-boot.
        '';
    config = {
      # An entry that cannot be loaded ends in the default, not in a menu that waits for a hand.
      boot.loader.grub.extraConfig = "set fallback=${toString loader.grub.default}";
    };
  }
]
