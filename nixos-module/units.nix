# Reads the unit files of packaging/systemd as NixOS options. They are the only place where the
# agent's units are written down; NixOS adds what only it knows. Values have `mkDefault`'s priority,
# so that a robot can say otherwise with the usual options.
{ lib }:
let
  inherit (lib) filter hasPrefix;

  # "[Unit]\nAfter=a b\n" gives { Unit = [ { key = "After"; value = "a b"; } ]; }
  parse =
    text:
    let
      lines = filter (line: line != "" && !hasPrefix "#" line && !hasPrefix ";" line) (
        lib.splitString "\n" text
      );
      step =
        { section, all }:
        line:
        let
          title = builtins.match "\\[(.*)]" line;
          pair = builtins.match "([^=]+)=(.*)" line;
        in
        if title != null then
          {
            section = builtins.head title;
            inherit all;
          }
        else if pair == null then
          throw "a unit file has a line that is neither a section nor an assignment: ${line}"
        else
          {
            inherit section;
            all = all // {
              ${section} = (all.${section} or [ ]) ++ [
                {
                  key = lib.elemAt pair 0;
                  value = lib.elemAt pair 1;
                }
              ];
            };
          };
      start = {
        section = throw "a unit file must begin with a section";
        all = { };
      };
    in
    (lib.foldl' step start lines).all;

  # Keys of [Unit] and [Install] that NixOS has options for, since it merges them.
  lists = {
    Wants = "wants";
    Requires = "requires";
    Requisite = "requisite";
    BindsTo = "bindsTo";
    PartOf = "partOf";
    Conflicts = "conflicts";
    Before = "before";
    After = "after";
    OnFailure = "onFailure";
    Documentation = "documentation";
    WantedBy = "wantedBy";
    RequiredBy = "requiredBy";
  };

  values = key: pairs: map (pair: pair.value) (filter (pair: pair.key == key) pairs);
  words = text: filter (word: word != "") (lib.splitString " " text);

  rest =
    taken: pairs:
    let
      keys = lib.unique (map (pair: pair.key) (filter (pair: !lib.elem pair.key taken) pairs));
    in
    lib.genAttrs keys (
      key:
      let
        all = values key pairs;
      in
      lib.mkDefault (if lib.length all == 1 then builtins.head all else all)
    );
in
{
  # The options of a unit, given the text of its file. `place` says where NixOS has the programs; it
  # comes after the parsing, since `builtins.match` forgets what a text refers to, and a unit that does
  # not refer to its program would come to the robot without it.
  options =
    place: text:
    let
      unit = lib.mapAttrs (_: map (pair: pair // { value = place pair.value; })) (parse text);
      general = (unit.Unit or [ ]) ++ (unit.Install or [ ]);
      service = unit.Service or [ ];
    in
    lib.filterAttrs (_: value: value != [ ] && value != { }) (
      lib.mapAttrs' (key: option: {
        name = option;
        value = lib.concatMap words (values key general);
      }) lists
      // {
        unitConfig = rest (lib.attrNames lists ++ [ "Description" ]) (unit.Unit or [ ]);
        serviceConfig = rest [ "X-RestartIfChanged" ] service;
        socketConfig = rest [ ] (unit.Socket or [ ]);
        timerConfig = rest [ ] (unit.Timer or [ ]);
      }
    )
    // {
      description = builtins.head (values "Description" general);
    }
    // lib.optionalAttrs (unit ? Service) {
      restartIfChanged = values "X-RestartIfChanged" service != [ "false" ];
      # What a unit finds in PATH, its file says. Above NixOS' own default, below `mkForce`.
      path = lib.mkOverride 90 [ ];
    };
}
