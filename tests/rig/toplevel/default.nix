# A stand-in for NixOS' system.build.toplevel: a real derivation with the files of the real one,
# honouring what switch-to-configuration, the boot loader's installer and stage 2 promise (see
# ../README.md for what is real and what is not). Builds in Nix's sandbox out of one busybox.
{
  # A directory with bin/busybox, statically linked, and bin/sh.
  busybox,
  # The generation's name: in nixos-version, in the boot entry, and in /etc/robot/generation.
  name,
  system ? builtins.currentSystem,

  # The robot's application, robot.service. One of:
  #   good    runs
  #   fails   exits 1 at its start
  #   exits   runs, then exits 1 as soon as /run/robot/exit exists
  #   silent  never says that it is ready, until startTimeout ends it ("infinity": it hangs)
  #   clings  will not be stopped
  #   none    there is no such unit
  # and, for robots with a kernel of their own:
  #   panics  crashes the kernel
  #   freezes stops PID 1, and with it whatever asks systemd for anything
  #   offline takes the network down
  service ? "good",
  startTimeout ? "5s",
  # A file that becomes a store path of its own and part of the closure: to see bytes move.
  padding ? null,

  # Faults of the switch itself.
  activateFails ? false, # activate exits 1 after its work: switch-to-configuration exits 2
  activateHangs ? false, # activate waits until /run/robot/go-on exists
  logindFails ? false, # logind cannot be asked in the middle of the switch: exit 11, as for a held lock
  checkFails ? false, # the pre-switch checks refuse: exit 1
  bootLoaderFails ? false, # installing the boot loader fails: exit 1
  inhibitors ? { }, # values of switch-inhibitors: a change refuses to switch without a reboot

  # Stage 2, before systemd: "good", "hangs", or "panics" by ending.
  stage2 ? "good",

  # The loader that it installs entries for: "systemd-boot" or "grub".
  loader ? "systemd-boot",
  # Names of systemd-boot's entries: "generation" (nixos-generation-N.conf, up to 26.05) or "hash"
  # (nixos-SHA256.conf, from 26.11); with a number of tries, a new entry begins to be counted.
  entryNames ? "generation",
  bootTries ? null,
  # With counted names by content: whether loader.conf says what is preferred (systemd 260 or newer).
  bootPreferred ? false,

  # What makes a reboot necessary. A kernel or initrd is a version, or the path of a real one.
  kernel ? "6.12.1",
  initrd ? "1",
  kernelModules ? null, # null: as the kernel
  kernelParams ? [ "loglevel=4" ],
  initInterface ? "systemd 2", # another one: exit 100

  # The nixos-rebuild in sw/bin: "store-path" (26.05 and later), "old" (knows no --store-path),
  # "none".
  nixosRebuild ? "store-path",
  # Whether it has a switch-to-configuration at all (system.switch.enable).
  switchable ? true,

  # A store path whose bin/ is merged into sw/bin and whose lib/systemd/system/ becomes units,
  # enabled as their WantedBy= says: the agent.
  extra ? null,
  # A directory that is merged into /etc.
  etc ? null,
}:
let
  file = path: builtins.path { inherit path; };
  # Kernel and initrd are store paths of their own: equal ones are equal across generations.
  part = kind: value:
    if builtins.isPath value then file value
    else builtins.toFile "${kind}-${value}" "${kind} ${value}\n";
in
derivation {
  name = "nixos-system-robot-${name}";
  inherit system;
  builder = "${busybox}/bin/sh";
  args = [ (file ./builder.sh) ];

  generation = name;
  inherit busybox service startTimeout initInterface nixosRebuild switchable extra;
  inherit activateFails activateHangs logindFails checkFails bootLoaderFails stage2 loader entryNames bootPreferred;
  bootTries = if bootTries == null then "" else toString bootTries;
  padding = if padding == null then "" else builtins.path { path = padding; name = "padding"; };
  etc = if etc == null then "" else file etc;
  kernel = part "linux" kernel;
  initrd = part "initrd" initrd;
  kernelModules = part "modules" (
    if kernelModules != null then kernelModules
    else if builtins.isPath kernel then "none" else kernel
  );
  kernelParams = builtins.concatStringsSep " " kernelParams;
  kernelParamsJson = builtins.toJSON kernelParams;
  inhibitors = builtins.toJSON inhibitors;

  activateScript = file ./activate;
  initScript = file ./init;
  installBootLoader = file (if loader == "grub" then ./install-grub else ./install-boot-loader);
  nixosRebuildScript = file ./nixos-rebuild;
  preSwitchCheck = file ./pre-switch-check;
  switchToConfiguration = file ./switch-to-configuration;
}
