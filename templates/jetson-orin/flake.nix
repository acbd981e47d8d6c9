{
  description = "A Jetson Orin that updates itself";

  inputs = {
    nixpkgs.url = "github:nixos/nixpkgs/nixos-26.05";
    jetpack = {
      url = "github:anduril/jetpack-nixos/master";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    surefoot = {
      url = "github:surefoot-ota/surefoot";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      nixpkgs,
      jetpack,
      surefoot,
      ...
    }:
    {
      nixosConfigurations.robot = nixpkgs.lib.nixosSystem {
        system = "aarch64-linux";
        modules = [
          jetpack.nixosModules.default
          surefoot.nixosModules.default
          ./robot.nix
        ];
      };
    };
}
