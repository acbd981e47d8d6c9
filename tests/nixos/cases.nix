# What the module must do, as a list of { name, ok } and, where not, what was found instead.
#
# `evaluate` turns a list of modules into { config, options }, with whatever NixOS is being asked.
{ lib, evaluate }:
let
  base = [
    ../../nixos-module
    ./robot.nix
  ];
  robot = extra: evaluate (base ++ [ extra ]);
  plain = robot { };
  inherit (plain) config;

  isTrue = name: ok: { inherit name ok; };
  equal = name: found: expected: {
    inherit name found expected;
    ok = found == expected;
  };
  ours = lib.hasPrefix "services.surefoot";
  refusals =
    evaluated:
    map (a: a.message) (lib.filter (a: !a.assertion && ours a.message) evaluated.config.assertions);
  warnings = evaluated: lib.filter ours evaluated.config.warnings;
  refused = name: words: extra: {
    inherit name;
    found = refusals (robot extra);
    expected = words;
    ok =
      lib.length (refusals (robot extra)) == 1 && lib.hasInfix words (lib.head (refusals (robot extra)));
  };
  warned = name: words: extra: {
    inherit name;
    found = warnings (robot extra);
    expected = words;
    ok = lib.any (lib.hasInfix words) (warnings (robot extra));
  };
  rejected = name: settings: {
    inherit name;
    ok =
      !(builtins.tryEval (
        builtins.deepSeq
          (robot { services.surefoot = { inherit settings; }; }).config.services.surefoot.settings
          true
      )).success;
  };

  # Every word of a unit file of packaging/systemd is in the unit that NixOS would install.
  unitFile =
    file:
    let
      text = config.systemd.units.${file}.text;
      lines = lib.filter (line: builtins.match "[A-Za-z-]+=.*" line != null) (
        lib.splitString "\n" (builtins.readFile (../../packaging/systemd + "/${file}"))
      );
      generated = lib.splitString "\n" text;
      placed =
        key: value:
        lib.any (
          line:
          lib.hasPrefix "${key}=" line
          && (
            lib.hasInfix (lib.replaceStrings [ "/usr/bin" "/bin/kill" ] [ "/bin" "/bin/kill" ] value) line
            || lib.all (word: lib.elem word (lib.splitString " " (lib.removePrefix "${key}=" line))) (
              lib.splitString " " value
            )
          )
        ) generated;
      missing = lib.filter (
        line:
        let
          pair = builtins.match "([^=]+)=(.*)" line;
        in
        !placed (lib.head pair) (lib.last pair)
      ) lines;
    in
    equal "${file} says all that packaging/systemd says" missing [ ];
  unitFiles = lib.attrNames (builtins.readDir ../../packaging/systemd);

  manager =
    evaluated: key: old:
    if evaluated.options.systemd ? settings then
      evaluated.config.systemd.settings.Manager.${key}
    else
      evaluated.config.systemd.watchdog.${old};
  # The spelling of 25.11 and later, for trees that are older.
  newSpelling =
    if plain.options.systemd ? settings then
      { }
    else
      {
        options.systemd.settings.Manager = lib.mkOption {
          type = lib.types.attrsOf lib.types.anything;
          default = { };
        };
        options.boot.initrd.systemd.settings.Manager = lib.mkOption {
          type = lib.types.attrsOf lib.types.anything;
          default = { };
        };
      };
  new = robot newSpelling;

  stage1 =
    enable:
    robot {
      boot.initrd.systemd.enable = lib.mkForce enable;
    };
  systemdStage1 = stage1 true;
  # Whether what a robot is warned of is just that nothing keeps it.
  onlyAsked = found: lib.length found == 1 && lib.hasInfix "nothing keeps the robot" (lib.head found);
  initrdManager =
    evaluated:
    if evaluated.options.boot.initrd.systemd ? settings then
      evaluated.config.boot.initrd.systemd.settings.Manager.RuntimeWatchdogSec
    else
      evaluated.config.boot.initrd.systemd.extraConfig;
in
map unitFile unitFiles
++ [
  (equal "a plain robot is not refused" (refusals plain) [ ])
  (isTrue "a plain robot is asked what it waits for, and no more" (onlyAsked (warnings plain)))
  (equal "a robot that may be switched at any moment is not warned of" (warnings (robot {
    services.surefoot.settings.gates.none = true;
  })) [ ])
  (isTrue "the daemon comes with the system" (
    lib.any (lib.hasSuffix "-the-daemon") (
      lib.attrNames (
        builtins.getContext
          (robot {
            services.surefoot.package = lib.mkForce {
              type = "derivation";
              name = "the-daemon";
              outPath = builtins.toFile "the-daemon" "";
            };
          }).config.systemd.units."surefootd.service".text
      )
    )
  ))
  (isTrue "a switch does not restart the agent" (
    lib.hasInfix "X-RestartIfChanged=false" config.systemd.units."surefootd.service".text
  ))
  (isTrue "a switch does not stop the agent" (
    lib.hasInfix "X-StopOnRemoval=false" config.systemd.units."surefootd.service".text
  ))
  (isTrue "a new configuration reloads the agent" (
    lib.hasInfix "X-Reload-Triggers=" config.systemd.units."surefootd.service".text
  ))
  (equal "the agent's PATH is what its unit file says" (lib.length (
    lib.filter (lib.hasInfix "PATH=") (
      lib.splitString "\n" config.systemd.units."surefootd.service".text
    )
  )) 1)
  (isTrue "the robot's own word wins over the unit file" (
    lib.hasInfix "WatchdogSec=2min"
      (robot { systemd.services.surefootd.serviceConfig.WatchdogSec = "2min"; })
      .config.systemd.units."surefootd.service".text
  ))
  (equal "secrets are handed over as credentials, missing ones as empty ones"
    (
      let
        inherit
          ((robot { services.surefoot.credentials.netrc = "/var/lib/secrets/netrc"; })
            .config.systemd.services.surefootd
          )
          serviceConfig
          ;
      in
      {
        inherit (serviceConfig) LoadCredential SetCredential;
      }
    )
    {
      LoadCredential = [ "netrc:/var/lib/secrets/netrc" ];
      SetCredential = [ "netrc:\\n" ];
    }
  )
  (isTrue "no credentials where none are asked for" (
    !(config.systemd.services.surefootd.serviceConfig ? LoadCredential)
  ))
  # A boot on trial is called good by the agent alone.
  (isTrue "nobody blesses a boot on trial" (
    let
      unit = config.systemd.units."systemd-bless-boot.service";
      deadline = builtins.readFile ../../agent/daemon/src/boot/deadline.rs;
      units = builtins.readFile ../../agent/daemon/src/robot/units.rs;
    in
    unit.overrideStrategy == "asDropin"
    && lib.hasInfix "ConditionPathExists=!/etc/systemd/system.control/surefoot-deadline.timer\n" unit.text
    && lib.hasInfix "\"/etc/systemd/system.control\"" deadline
    && lib.hasInfix "\"surefoot-deadline\"" units
  ))
  (equal "the agent starts with the robot" config.systemd.services.surefootd.wantedBy [
    "multi-user.target"
  ])
  (equal "nobody who calls starts an agent that was stopped" (
    config.systemd.sockets ? surefootd
  ) false)
  (isTrue "the agent may write where its socket is" (
    lib.elem "/run/robot"
      (robot { services.surefoot.settings.socket = "/run/robot/surefoot.socket"; })
      .config.systemd.services.surefootd.serviceConfig.ReadWritePaths
  ))
  (isTrue "the agent may write where its metrics are" (
    lib.elem "/var/lib/node"
      (robot { services.surefoot.settings.metrics.textfile = "/var/lib/node/surefoot.prom"; })
      .config.systemd.services.surefootd.serviceConfig.ReadWritePaths
  ))
  (isTrue "the agent may write where its state is" (
    lib.elem "/data/surefoot"
      (robot { services.surefoot.settings.state_dir = "/data/surefoot"; })
      .config.systemd.services.surefootd.serviceConfig.ReadWritePaths
  ))
  (equal "a system says what its agent reads" config.environment.etc."surefoot/formats.json".source
    "${config.services.surefoot.package}/share/surefoot/formats.json"
  )
  (equal "the trust anchor is installed" config.environment.etc."surefoot/root.json".source
    "/etc/nixos/root.json"
  )
  (isTrue "the cache's key is trusted" (
    lib.elem "fleet-1:AAAA" config.nix.settings.trusted-public-keys
  ))
  (isTrue "store paths survive a power cut" config.nix.settings.fsync-store-paths)
  (isTrue "groups are made" (
    (robot { services.surefoot.settings.control.technician_group = "technicians"; }).config.users.groups
      ? technicians
  ))
  (isTrue "no group is made that was not asked for" (!(config.users.groups ? technicians)))
  (isTrue "the roots' directory is there" (
    lib.any (lib.hasInfix "/nix/var/nix/gcroots/surefoot") config.systemd.tmpfiles.rules
  ))

  (isTrue "the switcher's lock is root's alone" (
    lib.any (lib.hasInfix "switch-to-configuration.lock 0600") config.systemd.tmpfiles.rules
  ))

  # The watchdog.
  (equal "systemd feeds the watchdog" (manager plain "RuntimeWatchdogSec" "runtimeTime") "30s")
  (equal "a hanging reboot ends" (manager plain "RebootWatchdogSec" "rebootTime") "10min")
  (equal "so in the other spelling" (manager new "RuntimeWatchdogSec" "runtimeTime") "30s")
  (equal "and a hanging reboot" (manager new "RebootWatchdogSec" "rebootTime") "10min")
  (isTrue "the driver is in the initrd" (lib.elem "i6300esb" config.boot.initrd.kernelModules))
  (isTrue "nobody can stop it" (lib.elem "i6300esb.nowayout=1" config.boot.kernelParams))
  (isTrue "systemd's stage 1 feeds it" (lib.hasInfix "30s" (initrdManager systemdStage1)))
  (isTrue "systemd's stage 1 ends" (
    systemdStage1.config.boot.initrd.systemd.targets.initrd.unitConfig.JobTimeoutAction
    == "reboot-force"
  ))
  (isTrue "the scripted stage 1 arms it" (
    lib.hasInfix "watchdog -F -T 600" (stage1 false).config.boot.initrd.preDeviceCommands
  ))
  (isTrue "systemd's stage 1 needs no script" (
    !lib.hasInfix "watchdog" systemdStage1.config.boot.initrd.preDeviceCommands
  ))
  (equal "without a watchdog nothing is armed"
    (robot {
      services.surefoot.watchdog.enable = false;
    }).config.boot.initrd.kernelModules
    (lib.filter (module: module != "i6300esb") config.boot.initrd.kernelModules)
  )
  (isTrue "a panic reboots" (lib.elem "panic=10" config.boot.kernelParams))
  (isTrue "a root file system that cannot be mounted reboots" (
    lib.elem "boot.panic_on_fail" config.boot.kernelParams
  ))
  (equal "no emergency mode" config.systemd.enableEmergencyMode false)

  # Refusals.
  (refused "a watchdog that is off" "RuntimeWatchdogSec is off" (
    if plain.options.systemd ? settings then
      { systemd.settings.Manager.RuntimeWatchdogSec = "off"; }
    else
      { systemd.watchdog.runtimeTime = "off"; }
  ))
  (refused "a loader without a one-shot" "cannot start a system just once" {
    boot.loader.systemd-boot.enable = lib.mkForce false;
    boot.loader.grub.enable = false;
    boot.loader.generic-extlinux-compatible.enable = true;
  })
  (equal "unless accepted" (refusals (robot {
    boot.loader.systemd-boot.enable = lib.mkForce false;
    boot.loader.grub.enable = false;
    boot.loader.generic-extlinux-compatible.enable = true;
    services.surefoot.allowLoaderWithoutFallback = true;
  })) [ ])
  (equal "or with its risk accepted" (refusals (robot {
    boot.loader.systemd-boot.enable = lib.mkForce false;
    boot.loader.grub.enable = false;
    boot.loader.generic-extlinux-compatible.enable = true;
    services.surefoot.settings.boot.accept_no_fallback = true;
  })) [ ])
  (refused "lanzaboote" "lanzaboote's entries" {
    options.boot.lanzaboote.enable = lib.mkEnableOption "lanzaboote";
    config.boot.lanzaboote.enable = true;
    config.boot.loader.systemd-boot.enable = lib.mkForce false;
  })
  (refused "too few generations in the menu" "keeps 3 generations" {
    boot.loader.systemd-boot.configurationLimit = lib.mkForce 3;
  })
  (refused "GRUB that cannot write its environment" "GRUB cannot write its environment" {
    boot.loader.systemd-boot.enable = lib.mkForce false;
    boot.loader.grub = {
      enable = true;
      device = "nodev";
    };
    fileSystems."/boot".fsType = lib.mkForce "btrfs";
  })
  (equal "GRUB on FAT is fine" (refusals (robot {
    boot.loader.systemd-boot.enable = lib.mkForce false;
    boot.loader.grub = {
      enable = true;
      device = "nodev";
    };
  })) [ ])
  (isTrue "GRUB goes on with its default when an entry cannot be loaded" (
    lib.hasInfix "set fallback=0" plain.config.boot.loader.grub.extraConfig
  ))
  (refused "a boot menu that waits" "waits in the boot menu" { boot.loader.timeout = null; })
  (refused "a shell in stage 1" "emergency shell" {
    boot.kernelParams = [ "boot.shell_on_fail" ];
  })
  (refused "another shell in stage 1" "emergency shell" {
    boot.initrd.systemd.enable = true;
    boot.initrd.systemd.emergencyAccess = true;
  })
  (equal "no shell in stage 1, said otherwise" (refusals (robot {
    boot.initrd.systemd.enable = true;
    boot.initrd.systemd.emergencyAccess = null;
  })) [ ])
  (refused "emergency mode" "emergency mode" { systemd.enableEmergencyMode = true; })
  (refused "a journal in memory" "lies in memory" {
    fileSystems."/".fsType = lib.mkForce "tmpfs";
  })
  (equal "a root in memory with state that persists" (refusals (robot {
    fileSystems."/".fsType = lib.mkForce "tmpfs";
    fileSystems."/var/lib" = {
      device = "/dev/vda3";
      fsType = "ext4";
    };
  })) [ ])
  (refused "a journal in /run" "lies in memory" {
    services.surefoot.settings.state_dir = "/run/surefoot";
  })
  (refused "two that update" "system.autoUpgrade" { system.autoUpgrade.enable = true; })
  (refused "another two" "services.comin" {
    options.services.comin.enable = lib.mkEnableOption "comin";
    config.services.comin.enable = true;
  })
  (refused "a secret in the store" "not a place for a secret" {
    services.surefoot.credentials.netrc = "${builtins.storeDir}/netrc";
  })
  (refused "a credential with a strange name" "names are made of" {
    services.surefoot.credentials."a:b" = "/var/lib/secrets/netrc";
  })
  (refused "no trust anchor" "needs a trust anchor" {
    services.surefoot.trustAnchor = lib.mkForce null;
  })
  (equal "a trust anchor that is one" (refusals (robot {
    services.surefoot.trustAnchor = lib.mkForce ../fuzz/seeds/metadata/root.json;
  })) [ ])
  (refused "the template's trust anchor" "is not root metadata" {
    services.surefoot.trustAnchor = lib.mkForce ../../templates/minimal/root.json;
  })
  (refused "a trust anchor that git does not know" "git add it" {
    services.surefoot.trustAnchor = lib.mkForce ./forgotten.json;
  })
  (refused "no Nix daemon" "set nix.enable = true" { nix.enable = false; })
  (refused "no switch-to-configuration" "system.switch.enable" { system.switch.enable = false; })

  # Warnings.
  (warned "no watchdog" "without a watchdog" { services.surefoot.watchdog.enable = false; })
  (warned "an unknown watchdog" "name the watchdog's driver" {
    services.surefoot.watchdog.modules = lib.mkForce null;
  })
  (warned "no key" "names no key of yours" { services.surefoot.trustedPublicKeys = lib.mkForce [ ]; })
  (warned "an /etc that is lost" "/etc lies in memory" {
    fileSystems."/".fsType = lib.mkForce "tmpfs";
    fileSystems."/var/lib" = {
      device = "/dev/vda3";
      fsType = "ext4";
    };
  })
  (warned "an /etc that is frozen" "/etc cannot be written" {
    boot.initrd.systemd.enable = true;
    system.etc.overlay = {
      enable = true;
      mutable = false;
    };
  })
  (warned "a passphrase" "the passphrase of secrets" {
    boot.initrd.luks.devices.secrets.device = "/dev/vda4";
  })
  (isTrue "unless a TPM knows it" (
    onlyAsked (
      warnings (robot {
        boot.initrd.luks.devices.secrets = {
          device = "/dev/vda4";
          crypttabExtraOpts = [ "tpm2-device=auto" ];
        };
      })
    )
  ))
  (warned "a lease that nobody may speak by" "names nobody who may" {
    services.surefoot.settings.gates.leases = [ "gripper" ];
  })
  (equal "labels and gates reach the agent"
    (
      let
        found =
          (robot {
            services.surefoot = {
              labels = [ "site=hall-3" ];
              settings = {
                control.app_group = "robot";
                gates = {
                  leases = [ "gripper" ];
                  battery.percent = 40;
                  window = [
                    {
                      name = "night";
                      from = "22:00";
                      to = "05:00";
                    }
                  ];
                };
              };
            };
          }).config.services.surefoot.settings;
      in
      [
        found.labels
        found.gates.leases
        found.gates.battery.stages
        (lib.head found.gates.window).stages
      ]
    )
    [
      [ "site=hall-3" ]
      [ "gripper" ]
      [
        "activate"
        "reboot"
      ]
      [
        "activate"
        "reboot"
      ]
    ]
  )
  (equal "every garbage collector that deletes all old generations is warned of, and no other"
    (lib.filter
      (
        options:
        lib.any (lib.hasInfix "nix.gc.options") (
          warnings (robot {
            nix.gc = {
              automatic = true;
              inherit options;
            };
          })
        )
      )
      [
        "-d"
        "--delete-old"
        "--max-freed 1000000 -vd"
        ""
        "--delete-older-than 30d"
        "--max-freed 1000000"
      ]
    )
    [
      "-d"
      "--delete-old"
      "--max-freed 1000000 -vd"
    ]
  )

  # Types.
  (rejected "an unknown key" { poll.intervall = "10min"; })
  (rejected "a number without a unit" { poll.interval = 600; })
  (rejected "an unknown unit" { poll.interval = "10 parsecs"; })
  (rejected "a number out of range" { fetch.connections = 65; })
  (rejected "an unknown choice" { trial.drift = "ignore"; })
  (rejected "a relative program" {
    health.command = [
      {
        name = "a";
        exec = [ "true" ];
      }
    ];
  })
  (rejected "a URL with a query" { repository = lib.mkForce "https://a/?b"; })
  (rejected "a label without a value" { labels = [ "hall-3" ]; })
  (rejected "an unknown stage" {
    gates.battery = {
      percent = 40;
      stages = [ "switch" ];
    };
  })
  (rejected "a unit without its type" { health.required_units = [ "nginx" ]; })
]
