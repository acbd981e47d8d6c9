# Runs the cases, and the templates, on a given nixpkgs `lib` and `nixos/` tree, without packages.
# `names` is a file with every package name that the tree mentions, one a line.
{
  libDir,
  nixosDir,
  names,
  # Trees of jetpack-nixos and nix-ros-overlay; without them a stand-in declares their options.
  jetpack ? null,
  ros ? null,
}:
let
  lib = import (libDir + "/lib");
  packages =
    system:
    import ./fake-pkgs.nix {
      inherit lib system;
      names = lib.filter (name: name != "") (lib.splitString "\n" (builtins.readFile names));
    };
  x86 = packages "x86_64-linux";
  evaluateOn =
    pkgs: modules:
    import (nixosDir + "/nixos/lib/eval-config.nix") {
      inherit lib pkgs modules;
      system = null;
    };
  evaluate = evaluateOn x86;

  ### The flake and its templates, with inputs that need no network

  nixpkgs = {
    lib = lib // {
      nixosSystem = { system, modules }: evaluateOn (packages system) modules;
    };
    legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] packages;
  };
  surefoot = (import ../../flake.nix).outputs {
    self = surefoot;
    inherit nixpkgs;
  };
  anything = lib.mkOption { type = lib.types.attrsOf lib.types.anything; };
  inputs = {
    inherit nixpkgs surefoot;
    jetpack.nixosModules.default =
      if jetpack == null then
        { options.hardware.nvidia-jetpack = anything; }
      else
        import (jetpack + "/modules/default.nix") (_: _: { });
    nix-ros-overlay = {
      overlays.default = _: _: { };
      nixosModules.default =
        if ros == null then
          {
            options.services.ros2 = anything;
            config.services.ros2.pkgs = x86.rosPackages.jazzy;
            config.users.groups.ros = { };
          }
        else
          ros + "/modules";
    };
  };
  template =
    name:
    let
      outputs = (import (../../templates + "/${name}/flake.nix")).outputs (inputs // { self = outputs; });
    in
    outputs.nixosConfigurations;
  robots = lib.concatMapAttrs (
    name: _: lib.mapAttrs' (robot: value: lib.nameValuePair "${name}/${robot}" value) (template name)
  ) (builtins.readDir ../../templates);

  refusals =
    robot:
    map (a: a.message) (
      lib.filter (a: !a.assertion && lib.hasPrefix "services.surefoot" a.message) robot.assertions
    );
  judge =
    name: evaluated:
    let
      before = refusals evaluated.config;
      # What its owner does first.
      inherit
        (evaluated.extendModules {
          modules = [ { services.surefoot.trustAnchor = lib.mkForce ../fuzz/seeds/metadata/root.json; } ];
        })
        config
        ;
      said = refusals config ++ lib.filter (lib.hasPrefix "services.surefoot") config.warnings;
    in
    [
      {
        name = "template ${name} asks for its own trust anchor";
        found = before;
        expected = "one refusal";
        ok = lib.length before == 1 && lib.hasInfix "is not root metadata" (lib.head before);
      }
      {
        name = "template ${name} is a good robot then";
        found = said;
        expected = [ ];
        ok = said == [ ] && config.systemd.units ? "surefootd.service";
      }
    ];
  configOf =
    evaluated:
    let
      source = evaluated.config.environment.etc."surefoot/config.toml".source;
    in
    (source.written or source).text;
  full = evaluate [
    ../../nixos-module
    ./robot.nix
    ./full.nix
  ];

  ### The tests in virtual machines: that they are NixOS tests, not that they pass
  vm = lib.mapAttrs (
    _: test:
    (import (nixosDir + "/nixos/lib") { inherit lib; }).evalTest {
      imports = [ test ];
      hostPkgs = x86;
    }
  ) (import ./vm.nix { inherit surefoot; });
  judgeVm =
    name: test:
    let
      failed = lib.concatMap refusals [
        test.config.nodes.robot
        test.config.nodes.robot.specialisation.next.configuration
      ];
    in
    {
      name = "${name} is a test of a good robot";
      found = failed;
      expected = [ ];
      ok = failed == [ ] && lib.hasInfix "publish(next" test.config.testScriptString;
    };

  ### The packages: that they evaluate, and that cargo finds every member of the workspace
  packaged =
    let
      # What they ask nixpkgs for.
      tools = lib.mapAttrs (name: _: x86.runCommand name { } "") (
        lib.functionArgs (import ../../packaging/nix/package.nix)
        // lib.functionArgs (import ../../packaging/nix/demo.nix)
      );
      rust = {
        bindgenHook = "bindgen";
        buildRustPackage =
          a:
          a
          // {
            type = "derivation";
            name = a.pname;
            outPath = "/nix/store/${a.pname}";
            daemon = "daemon";
            overrideAttrs = f: rust.buildRustPackage (a // f a);
          };
      };
      final =
        tools
        // x86
        // {
          # Nothing is copied into a store by an evaluation.
          lib = lib // {
            fileset = lib.fileset // {
              toSource = a: a;
            };
          };
          rustPlatform = rust;
          callPackage = lib.callPackageWith final;
          pkgsStatic = final;
          stdenvNoCC.mkDerivation = a: x86.runCommand a.name { } "" // a;
          writeShellApplication = a: a;
        }
        // import ../../packaging/nix/overlay.nix final x86;
    in
    final;
  members = (lib.importTOML ../../Cargo.toml).workspace.members;
  files = map toString (lib.fileset.toList packaged.surefoot.src.fileset);
  missing = lib.filter (member: !lib.elem (toString (../.. + "/${member}/Cargo.toml")) files) members;
  foreign = evaluateOn (packages "armv7l-linux") [
    surefoot.nixosModules.default
    ./robot.nix
  ];
  packageCases = [
    {
      name = "the package has every member of the workspace";
      found = missing;
      expected = [ ];
      ok = missing == [ ];
    }
    {
      name = "a robot that the flake has no packages for builds them itself";
      found = foreign.config.services.surefoot.package.system;
      expected = "armv7l-linux";
      ok = foreign.config.services.surefoot.package.system == "armv7l-linux";
    }
    {
      name = "the demo starts the programs that are built for it";
      ok = lib.hasInfix "/nix/store/surefoot-demo-programs/bin/surefoot-demo" packaged.surefoot-demo.text;
    }
  ];
in
{
  results =
    import ./cases.nix { inherit lib evaluate; }
    ++ packageCases
    ++ lib.concatLists (lib.mapAttrsToList judge robots)
    ++ lib.mapAttrsToList judgeVm vm;
  configs = lib.mapAttrs (_: configOf) robots // {
    plain = configOf (evaluate [
      ../../nixos-module
      ./robot.nix
    ]);
    full = configOf full;
  };
  flake = {
    packages = lib.mapAttrs (_: lib.attrNames) surefoot.packages;
    checks = lib.attrNames surefoot.checks.x86_64-linux;
    templates = lib.mapAttrs (_: t: t.description) surefoot.templates;
  };
  release = lib.trivial.release;
  reference = import ../../nixos-module/reference.nix {
    inherit lib;
    pkgs = x86;
  };
}
