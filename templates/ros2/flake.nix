{
  description = "A ROS 2 robot that updates itself";

  inputs = {
    nix-ros-overlay.url = "github:lopsided98/nix-ros-overlay/master";
    # ROS is built and cached for the nixpkgs of its overlay.
    nixpkgs.follows = "nix-ros-overlay/nixpkgs";
    surefoot = {
      url = "github:surefoot-ota/surefoot";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      nixpkgs,
      nix-ros-overlay,
      surefoot,
      ...
    }:
    {
      nixosConfigurations.robot = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          surefoot.nixosModules.default
          nix-ros-overlay.nixosModules.default
          { nixpkgs.overlays = [ nix-ros-overlay.overlays.default ]; }
          ./robot.nix
        ];
      };
    };

  nixConfig = {
    extra-substituters = [ "https://ros.cachix.org" ];
    extra-trusted-public-keys = [ "ros.cachix.org-1:dSyZxI8geDCJrwgvCOHDoAfOm5sV1wCPjBkKL+38Rvo=" ];
  };
}
