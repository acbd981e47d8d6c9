# services.surefoot: over-the-air updates that always keep their footing.
#
# Works without the flake, too: import this directory, with the overlay of packaging/nix, or with
# `services.surefoot.package` and `.cliPackage` set.
{
  imports = [
    ./options.nix
    ./agent.nix
    ./survival.nix
    ./assertions.nix
  ];
}
