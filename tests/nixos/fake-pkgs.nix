# A package set without packages: every name that the modules mention is a derivation that was never
# built. The module system runs on it as it does on nixpkgs; only building is impossible.
{
  lib,
  names,
  system ? "x86_64-linux",
}:
let
  plat = lib.systems.elaborate system;
  hash = text: builtins.substring 0 32 (builtins.hashString "sha256" text);

  # Builders leave what they were given where the checks can read it.
  fake =
    name: extra:
    let
      self = {
        type = "derivation";
        inherit name;
        pname = name;
        version = "6.12.0";
        outputName = "out";
        outputs = [ "out" ];
        inherit system;
        outPath = "/nix/store/${hash name}-${lib.strings.sanitizeDerivationName name}";
        drvPath = "/nix/store/${hash name}-${lib.strings.sanitizeDerivationName name}.drv";
        meta = {
          available = true;
          mainProgram = name;
          priority = 5;
        };
        override = _: self;
        overrideAttrs = _: self;
        withPackages = _: self;
        passthru = { };
      }
      // lib.genAttrs [
        "out"
        "bin"
        "dev"
        "lib"
        "man"
        "doc"
        "info"
        "modules"
        "terminfo"
        "getent"
        "su"
        "dist"
        "ga"
      ] (_: self)
      // extra;
    in
    self;

  command =
    name: env: buildCommand:
    fake name ({ inherit buildCommand; } // env // env.passthru or { });
  withText = name: text: fake name { inherit text; };
  data =
    with lib.types;
    let
      any =
        nullOr (oneOf [
          bool
          int
          float
          str
          path
          (attrsOf any)
          (listOf any)
        ])
        // {
          description = "data";
        };
    in
    any;
  format = render: _: {
    type = data;
    lib.types.atom = data;
    generate = name: value: fake name { text = render value; };
  };

  # Inline tables: ugly, but TOML.
  toml =
    v:
    if lib.isAttrs v && !lib.isDerivation v then
      "{ ${lib.concatStringsSep ", " (lib.mapAttrsToList (k: v: "${k} = ${toml v}") v)} }"
    else if lib.isList v then
      "[ ${lib.concatMapStringsSep ", " toml v} ]"
    else
      builtins.toJSON v;
  tomlFile = v: lib.concatStrings (lib.mapAttrsToList (k: v: "${k} = ${toml v}\n") v);

  kernel = fake "linux" {
    kernelOlder = _: false;
    kernelAtLeast = _: true;
    modDirVersion = "6.12.0";
    config = {
      isYes = _: true;
      isNo = _: false;
      isSet = _: true;
      isEnabled = _: true;
      isDisabled = _: false;
      isModule = _: true;
    };
    features.efiBootStub = true;
    target = "bzImage";
    stdenv = stdenv;
    commonMakeFlags = [ ];
  };
  linuxPackages = fakeSet "linuxPackages" // {
    inherit kernel;
    extend = _: linuxPackages;
  };
  fakeSet = prefix: lib.genAttrs names (name: fake "${prefix}-${name}" { });

  stdenv = fake "stdenv" {
    hostPlatform = plat;
    buildPlatform = plat;
    targetPlatform = plat;
    inherit (plat) isLinux isx86_64 isAarch64;
    isDarwin = false;
    cc = fake "cc" {
      libc = fake "glibc" { };
      bintools = fake "bintools" { dynamicLinker = "/nix/store/ld.so"; };
      isGNU = true;
      isClang = false;
    };
    shell = "/bin/sh";
    mkDerivation =
      a: fake (a.name or "${a.pname}-${a.version or "0"}") (if lib.isFunction a then { } else a);
  };

  # nix-ros-overlay's sets, as far as its modules and the template look.
  rosPackages.jazzy =
    lib.genAttrs [
      "ament-cmake"
      "demo-nodes-cpp"
      "ros2cli"
      "ros2launch"
      "ros2node"
      "ros2run"
      "ros2topic"
      "std-msgs"
    ] (name: fake name { })
    // {
      buildEnv = a: fake a.name { };
      overrideScope = _: rosPackages.jazzy;
    };

  # jetpack-nixos' set, as far as its modules look.
  nvidia-jetpack =
    lib.genAttrs [
      "containerDeps"
      "flashScript"
      "l4t-3d-core"
      "l4t-bootloader-utils"
      "l4t-camera"
      "l4t-core"
      "l4t-cuda"
      "l4t-firmware"
      "l4t-gbm"
      "l4t-init"
      "l4t-multimedia"
      "l4t-nvfancontrol"
      "l4t-nvpmodel"
      "l4t-nvsci"
      "l4t-pva"
      "l4t-tools"
      "l4t-wayland"
      "l4t-xusb-firmware"
      "opteeClient"
      "opteeXtest"
      "otaUtils"
    ] (name: fake name { })
    // {
      inherit kernel;
      kernelPackages = linuxPackages;
      rtkernelPackages = linuxPackages;
      kernelPackagesOverlay = _: _: { };
      l4tMajorMinorPatchVersion = "36.4.4";
      l4tAtLeast = _: true;
      l4tOlder = _: false;
      l4tCsv = fake "l4t-csv" { fileNames = [ ]; };
    };

  real = {
    inherit
      lib
      nvidia-jetpack
      stdenv
      linuxPackages
      rosPackages
      ;
    stdenvNoCC = stdenv;
    config = {
      allowUnfree = true;
      allowAliases = true;
      cudaSupport = false;
    };
    overlays = [ ];
    hostPlatform = plat;
    buildPlatform = plat;
    targetPlatform = plat;
    inherit system;
    _type = "pkgs";
    path = "/nixpkgs";
    buildPackages = pkgs;
    pkgsBuildBuild = pkgs;
    pkgsBuildHost = pkgs;
    pkgsHostTarget = pkgs;
    pkgsStatic = pkgs;
    targetPackages = pkgs;
    pkgsi686Linux = pkgs;
    __splicedPackages = pkgs;
    extend = _: pkgs;
    appendOverlays = _: pkgs;
    linuxPackages_latest = linuxPackages;
    linuxPackagesFor = _: linuxPackages;
    linuxKernel = {
      packages = { };
      kernels = { };
    };
    aggregateModules = _: fake "kernel-modules" { };
    formats = {
      toml = format tomlFile;
      json = format builtins.toJSON;
      yaml = format builtins.toJSON;
      ini = format (lib.generators.toINI { });
      systemd = format (lib.generators.toINI { listsAsDuplicateKeys = true; });
      keyValue = format (lib.generators.toKeyValue { });
      gitIni = format (lib.generators.toINI { });
      javaProperties = format (lib.generators.toKeyValue { });
      iniWithGlobalSection = format (lib.generators.toINIWithGlobalSection { });
    };
    systemd = fake "systemd" {
      interfaceVersion = 2;
      util-linux = pkgs.util-linux;
      kmod = pkgs.kmod;
      kbd = pkgs.kbd;
    };
    nix = fake "nix" { version = "2.31.0"; };
    bash = fake "bash" { shellPath = "/bin/bash"; };
    bashInteractive = fake "bash" { shellPath = "/bin/bash"; };
    shadow = fake "shadow" { shellPath = "/bin/nologin"; };
    runtimeShell = "/bin/sh";
    libxcrypt = fake "libxcrypt" { enabledCryptSchemeIds = [ "y" ]; };
    callPackage = _: _: fake "called" { };
    fetchurl = a: fake (baseNameOf a.url) { };
    writeText = withText;
    writeTextFile = a: withText a.name a.text;
    writeTextDir = p: text: withText (baseNameOf p) text;
    writeScript = withText;
    writeScriptBin = withText;
    writeShellScript = withText;
    writeShellScriptBin = withText;
    writeShellApplication = a: withText a.name a.text;
    runCommand = command;
    runCommandLocal = command;
    runCommandCC = command;
    buildEnv = a: fake a.name { };
    symlinkJoin = a: fake (a.name or "joined") { };
    linkFarm = name: _: fake name { };
    substituteAll = a: fake (a.name or "substituted") { };
    replaceVars = path: _: fake (baseNameOf path) { };
    concatText = name: _: fake name { };
    emptyFile = fake "empty-file" { };
    emptyDirectory = fake "empty-directory" { };
    makeDBusConf = _: fake "dbus-1" { };
    makeModulesClosure = _: fake "modules-closure" { };
    makeInitrd = _: fake "initrd" { };
    makeInitrdNG = _: fake "initrd" { };
    closureInfo = _: fake "closure-info" { };
    compressFirmwareZstd = x: x;
    compressFirmwareXz = x: x;
    nixosTests = fakeSet "test";
  };
  pkgs =
    lib.genAttrs (
      names
      ++ [
        "fish"
        "zsh"
        "dash"
        "surefoot"
        "surefoot-demo"
        "surefootd"
      ]
    ) (name: fake name { })
    // real;
in
pkgs
