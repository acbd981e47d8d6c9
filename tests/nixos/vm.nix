# Whole robots in virtual machines, for `nix flake check`: real NixOS, boot loaders and watchdog.
#
# Each robot comes with the systems that it is updated to as specialisations: complete systems with
# the robot's own address, known before it starts.
{ surefoot }:
let
  robot =
    { lib, pkgs, ... }:
    {
      imports = [ surefoot.nixosModules.default ];
      virtualisation = {
        useBootLoader = true;
        useEFIBoot = true;
        memorySize = 1536;
        diskSize = 6144;
        qemu.options = [
          "-device i6300esb"
          "-action watchdog=reset"
        ];
      };
      system.switch.enable = true;
      boot.loader.systemd-boot = {
        enable = lib.mkDefault true;
        configurationLimit = 8;
      };
      boot.loader.timeout = 0;
      environment.systemPackages = [ pkgs.jq ];

      services.surefoot = {
        enable = true;
        repository = lib.mkDefault "http://server/fleet";
        channel = "stable";
        model = "robot";
        watchdog.modules = [ "i6300esb" ];
        settings = {
          # The repository is made while the test runs, so its root comes from there, too.
          root = "/var/lib/anchor/root.json";
          fetch.signatures = "manifest";
          poll.interval = "5s";
          health = {
            soak = "10s";
            interval = "1s";
            deadline = "2min";
            required_units = [ "payload.service" ];
          };
        };
      };
      # Started by the test once the anchor is there.
      systemd.services.surefootd.unitConfig.ConditionPathExists = "/var/lib/anchor/root.json";

      systemd.services.payload = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = lib.mkDefault "${pkgs.coreutils}/bin/sleep infinity";
      };
    };

  server =
    { pkgs, ... }:
    {
      environment.systemPackages = [ surefoot.packages.${pkgs.stdenv.hostPlatform.system}.surefoot ];
      networking.firewall.allowedTCPPorts = [ 80 ];
      services.nginx = {
        enable = true;
        virtualHosts.server.root = "/srv";
      };
      systemd.tmpfiles.rules = [ "d /srv 0755 root root -" ];
    };

  # A change that needs no reboot.
  good.environment.etc."generation".text = "next";
  bad =
    { lib, pkgs, ... }:
    {
      systemd.services.payload.serviceConfig.ExecStart = lib.mkForce "${pkgs.coreutils}/bin/false";
    };
  # A kernel parameter can only be tried by a reboot.
  rebooting.boot.kernelParams = [ "surefoot.trial" ];
  # The new kernel panics before it has a root file system.
  panicking = {
    boot.kernelParams = [
      "surefoot.trial"
      "rdinit=/nowhere"
      "root=/dev/nowhere"
    ];
  };
  # systemd of the new system freezes: only the watchdog can end that.
  freezing =
    { pkgs, ... }:
    {
      boot.kernelParams = [ "surefoot.trial" ];
      systemd.services.freeze = {
        wantedBy = [ "sysinit.target" ];
        unitConfig.DefaultDependencies = false;
        serviceConfig.ExecStart = "${pkgs.coreutils}/bin/kill -ABRT 1";
      };
    };

  helpers = ''
    def at(link):
        return robot.succeed(f"readlink -f {link}").strip()

    def confirmed(system):
        "Waits until the robot runs a system, and would start with it."
        robot.wait_until_succeeds(
            f"test $(readlink -f /run/current-system) = {system} && "
            f"test $(readlink -f /nix/var/nix/profiles/system) = {system}", timeout=300)

    def blocked(system):
        robot.wait_until_succeeds(
            f"surefoot status --json | jq -e '.blocked | any(.system == \"{system}\")'", timeout=300)

    def repository(where="/srv"):
        server.succeed(f"surefoot repo init {where}/fleet --keys-dir /var/keys")

    def publish(system, where="/srv", cache="http://server/cache"):
        server.succeed(
            f"nix --extra-experimental-features nix-command copy --no-check-sigs --to 'file://{where}/cache?compression=zstd' {system}")
        server.succeed(
            f"surefoot publish --repo {where}/fleet --keys-dir /var/keys --channel stable --model robot --cache {cache} {system}")

    def trust():
        root = server.succeed("cat /srv/fleet/metadata/1.root.json")
        robot.succeed(f"mkdir -p /var/lib/anchor && cat > /var/lib/anchor/root.json <<'EOF'\n{root}\nEOF")
        robot.succeed("systemctl start surefootd.service")

    server.start()
    server.wait_for_unit("nginx.service")
    robot.start(allow_reboot=True)
    robot.wait_for_unit("multi-user.target")
    first = at("/run/current-system")
    repository()
    trust()
  '';

  test =
    {
      name,
      next,
      script,
      extra ? { },
    }:
    {
      name = "surefoot-${name}";
      nodes.robot = {
        imports = [
          robot
          extra
        ];
        specialisation.next.configuration = next;
      };
      nodes.server =
        { nodes, ... }:
        {
          imports = [ server ];
          virtualisation.additionalPaths = [
            nodes.robot.specialisation.next.configuration.system.build.toplevel
          ];
        };
      testScript =
        { nodes, ... }:
        ''
          next = "${nodes.robot.specialisation.next.configuration.system.build.toplevel}"
          ${helpers}
          ${script}
        '';
    };

  # What a trial that ends in the confirmed system again looks like.
  comesBack = sign: ''
    publish(next)
    robot.wait_for_console_text("${sign}")
    robot.connected = False  # the shell is gone with the system; the next one comes with the first
    robot.wait_for_unit("multi-user.target", timeout=600)
    blocked(next)
    confirmed(first)
  '';
  grub =
    { lib, ... }:
    {
      virtualisation.useEFIBoot = lib.mkForce false;
      boot.loader.systemd-boot.enable = lib.mkForce false;
      boot.loader.grub = {
        enable = true;
        device = lib.mkDefault "/dev/vda";
      };
    };
  rebootAndConfirm = ''
    publish(next)
    robot.wait_for_console_text("surefoot.trial")
    robot.connected = False
    robot.wait_for_unit("multi-user.target", timeout=600)
    confirmed(next)
    robot.reboot()
    robot.wait_for_unit("multi-user.target")
    robot.succeed("grep -q surefoot.trial /proc/cmdline")
    confirmed(next)
  '';
in
{
  vm-update = test {
    name = "update";
    next = good;
    script = ''
      publish(next)
      confirmed(next)
      robot.succeed("grep -q next /etc/generation")
      robot.reboot()
      robot.wait_for_unit("multi-user.target")
      confirmed(next)
    '';
  };
  vm-revert = test {
    name = "revert";
    next = bad;
    script = ''
      publish(next)
      blocked(next)
      confirmed(first)
      robot.wait_for_unit("payload.service")
    '';
  };
  vm-boot-systemd-boot = test {
    name = "boot-systemd-boot";
    next = rebooting;
    script = rebootAndConfirm;
  };
  vm-boot-grub = test {
    name = "boot-grub";
    extra = grub;
    next = rebooting;
    script = rebootAndConfirm;
  };
  vm-panic = test {
    name = "panic";
    next = panicking;
    script = comesBack "Kernel panic";
  };
  vm-watchdog = test {
    name = "watchdog";
    next = freezing;
    script = comesBack "Freezing execution";
  };
  # The repository and the cache on a stick, put together by the server.
  vm-usb = test {
    name = "usb";
    next = good;
    extra =
      { lib, ... }:
      {
        services.surefoot.repository = "file:///media/usb/fleet";
        services.surefoot.settings.health.manifest_server = false;
        services.surefoot.settings.fetch.caches = lib.mkForce [ "file:///media/usb/cache" ];
      };
    script = ''
      server.succeed("mkdir /media && ln -s /srv /media/usb")
      publish(next, cache="file:///media/usb/cache --local-cache")
      server.succeed("tar -C /srv -cf /srv/usb.tar fleet cache")
      robot.succeed("mkdir -p /media/usb && curl -fsS http://server/usb.tar | tar -x -C /media/usb")
      confirmed(next)
    '';
  };
}
