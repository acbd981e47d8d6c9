# Intel NUC, arm, two cameras.
{
  services.surefoot.watchdog.modules = [ "iTCO_wdt" ];
}
