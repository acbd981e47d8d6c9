{
  description = "A fleet: several robots of several models, built and published by CI";

  inputs = {
    nixpkgs.url = "github:nixos/nixpkgs/nixos-26.05";
    surefoot = {
      url = "github:surefoot-ota/surefoot";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    { nixpkgs, surefoot, ... }:
    let
      inherit (nixpkgs) lib;

      # One system for each model, not for each robot: what tells robots of a model apart (name, keys,
      # calibration) lies on the robot, in /var/lib.
      models = {
        picker = "x86_64-linux";
        mover = "aarch64-linux";
      };
      robots = lib.mapAttrs (
        model: system:
        lib.nixosSystem {
          inherit system;
          modules = [
            surefoot.nixosModules.default
            ./common.nix
            ./models/${model}.nix
            { services.surefoot.model = model; }
          ];
        }
      ) models;
    in
    {
      nixosConfigurations = robots;

      # What CI builds and publishes: nix build .#systems.picker
      systems = lib.mapAttrs (_: robot: robot.config.system.build.toplevel) robots;

      # What publishes: nix run .#surefoot -- publish …
      packages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: {
        inherit (surefoot.packages.${system}) surefoot;
      });
    };
}
