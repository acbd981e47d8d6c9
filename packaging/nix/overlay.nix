final: _: {
  surefoot = final.callPackage ./package.nix { };
  surefootd = final.surefoot.daemon;
}
