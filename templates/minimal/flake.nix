{
  description = "A robot that updates itself";

  inputs = {
    nixpkgs.url = "github:nixos/nixpkgs/nixos-26.05";
    surefoot = {
      url = "github:surefoot-ota/surefoot";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    { nixpkgs, surefoot, ... }:
    {
      nixosConfigurations.robot = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          surefoot.nixosModules.default
          ./robot.nix
        ];
      };
    };
}
