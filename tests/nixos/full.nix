# Settings of every type, some of each table.
{ pkgs, ... }:
{
  services.surefoot.settings = {
    ca_file = "/etc/ssl/certs/site.pem";
    poll = {
      interval = "1h 30min";
      jitter = 0.5;
    };
    fetch = {
      caches = [
        "http://cache.site.example"
        "file:///media/usb/cache"
      ];
      connections = 4;
      signatures = "manifest";
      reserve = "1GiB";
    };
    trial.drift = "adopt";
    health = {
      soak = "90s";
      ignore_units = [ "getty@*.service" ];
      required_units = [ "sshd.service" ];
      manifest_server = false;
      command = [
        {
          name = "works";
          exec = [
            "${pkgs.coreutils}/bin/test"
            "-e"
            "/var/lib/robot/a \"quoted\" \\ path"
          ];
          timeout = "5s";
        }
      ];
      tcp = [
        {
          name = "ssh";
          address = "[::1]:22";
        }
      ];
      http = [
        {
          name = "web";
          url = "http://localhost:8080/healthz";
          status = 204;
        }
      ];
    };
    control = {
      technician_group = "technicians";
      app_group = "robot";
    };
  };
}
