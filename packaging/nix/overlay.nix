final: _: {
  surefoot = final.callPackage ./package.nix { };
  surefootd = final.surefoot.daemon;
  surefoot-demo = final.callPackage ./demo.nix { };
}
