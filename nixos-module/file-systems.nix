# Which file systems the paths of this system lie on, as far as its configuration tells.
{ config, lib }:
let
  # The file system that a path lies on.
  fileSystemOf =
    path:
    let
      holds =
        fs:
        fs.mountPoint == "/" || fs.mountPoint == path || lib.hasPrefix "${fs.mountPoint}/" (toString path);
      longest = lib.sort (a: b: lib.stringLength a.mountPoint > lib.stringLength b.mountPoint) (
        lib.filter holds (lib.attrValues config.fileSystems)
      );
    in
    if longest == [ ] then null else builtins.head longest;
in
rec {
  # Its type; "unknown" where none is declared.
  fsType =
    path:
    let
      fs = fileSystemOf path;
    in
    if fs == null then "unknown" else fs.fsType;

  # Whether what is written there is gone with the power.
  volatile =
    path:
    lib.elem (fsType path) [
      "tmpfs"
      "ramfs"
    ];
}
