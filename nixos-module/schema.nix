# Turns the agent's own declaration of its configuration (schema.json, printed by
# `surefootd --config-schema`) into NixOS options, so that the two cannot drift apart.
{ lib }:
let
  inherit (lib) mkOption types;
  inherit (lib.importJSON ./schema.json) tables;

  number = "[0-9]+(\\.[0-9]+)?";
  time = "${number} *(ms(ec)?|s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?|w|weeks?)";
  name = "[A-Za-z0-9][A-Za-z0-9._+\\-]{0,99}";
  unitName = "[A-Za-z0-9:_.@\\-]+";
  described = description: type: type // { inherit description; };
  text = description: pattern: described description (types.strMatching pattern);

  # One type for each `type` of schema.json. What cannot be said with a pattern is checked when the
  # system is built, by the agent itself.
  typeOf = {
    "duration" = _: text "duration such as \"30s\", \"10min\" or \"1h 30min\"" "${time}( *${time})*";
    "size" = _: text "size such as \"512MiB\"" "${number} *(B|k|kB|[KMGT](i?B)?)";
    "time of day" = _: text "time of day such as \"22:30\"" "([01][0-9]|2[0-3]):[0-5][0-9]";
    "boolean" = _: types.bool;
    "integer" =
      key:
      if key.minimum == null then types.ints.unsigned else types.ints.between key.minimum key.maximum;
    "number" =
      key: if key.minimum == null then types.number else types.numbers.between key.minimum key.maximum;
    "name" = _: text "name: A-Z a-z 0-9 . _ + -" name;
    "lease" =
      _:
      let
        named = text "name: A-Z a-z 0-9 . _ + -" name;
        owned = types.submodule {
          options = {
            name = mkOption {
              type = named;
              description = "The lease.";
            };
            user = mkOption {
              type = text "name or number of a user" "[A-Za-z0-9._\\-]{1,32}";
              description = "Whose word counts.";
            };
          };
        };
      in
      described "name of a lease, or a name and the user whose word counts" (types.either named owned);
    "label" = _: text "label such as \"site=hall-3\"" "${name}=${name}";
    "text" = _: text "text of 1 to 200 characters" ".{1,200}";
    "path" = _: types.path;
    # Not a path: that would copy the secret into the store.
    "secret file" =
      _:
      text "absolute path, or name of one of `services.surefoot.credentials`" "(/.+|[A-Za-z0-9._\\-]+)";
    "URL" = _: text "http, https or file URL" "(https?://|file:///)[^ ?#]+";
    "http URL" = _: text "http or https URL" "https?://[^ ]+";
    "address" = _: text "address such as \"localhost:8080\"" "[^ ]+:[0-9]+";
    "unit" =
      _:
      text "full name of a unit" (
        "${unitName}\\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)"
      );
    "unit pattern" = _: text "pattern for names of units" "[A-Za-z0-9:_.@*?\\\\\\-]{1,255}";
    "group" = _: text "name of a group" "[A-Za-z_][A-Za-z0-9._\\-]{0,30}";
    "command" =
      _:
      described "program by its absolute path, and its arguments" (
        types.addCheck (types.nonEmptyListOf types.str) (words: lib.hasPrefix "/" (builtins.head words))
      );
    "choice" = key: types.enum key.choices;
  };

  keyType =
    key:
    let
      one =
        (typeOf.${key.type}
          or (throw "nixos-module/schema.nix has no type for '${key.type}', which '${key.name}' has")
        )
          key;
    in
    if key.list then types.listOf one else one;

  keyOption =
    key:
    let
      type = keyType key;
      optional = !key.required && key.default == null;
    in
    mkOption (
      {
        type = if optional then types.nullOr type else type;
        description =
          key.doc
          + lib.optionalString (
            key.minimum != null && key.type != "integer" && key.type != "number"
          ) "\n\nFrom `${toString key.minimum}` to `${toString key.maximum}`.";
      }
      // lib.optionalAttrs (!key.required) { inherit (key) default; }
    );

  byName =
    keys: f:
    lib.listToAttrs (
      map (key: {
        inherit (key) name;
        value = f key;
      }) keys
    );

  # The tables right below a table: `health.command` lies below `health`, `health` below "".
  below =
    path:
    lib.filter (
      table:
      table.path != "" && lib.concatStringsSep "." (lib.init (lib.splitString "." table.path)) == path
    ) tables;

  optionsOf =
    table:
    byName table.keys keyOption
    // lib.listToAttrs (
      map (inner: {
        name = lib.last (lib.splitString "." inner.path);
        value =
          let
            module = types.submodule { options = optionsOf inner; };
          in
          mkOption {
            type = if inner.list then types.listOf module else module;
            default = if inner.list then [ ] else { };
            description = inner.doc;
          };
      }) (below table.path)
    );

  tableOf = path: lib.findFirst (table: table.path == path) (throw "no table '${path}'") tables;
in
{
  # The type of `services.surefoot.settings`.
  settings = types.submodule { options = optionsOf (tableOf ""); };

  # The option of a key of a table.
  optionOf =
    path: name:
    keyOption (
      lib.findFirst (key: key.name == name) (throw "no key '${path}.${name}'") (tableOf path).keys
    );
}
