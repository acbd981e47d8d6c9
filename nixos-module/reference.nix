# The reference of all options, as Markdown; from the declarations alone.
{ lib, pkgs }:
let
  evaluated = lib.evalModules {
    modules = [
      ./options.nix
      { _module.args = { inherit pkgs; }; }
    ];
  };
  options = lib.filter (option: option.visible && !option.internal) (
    lib.optionAttrSetToDocList evaluated.options.services.surefoot
  );

  # {option}`x`, {file}`x` and the like are NixOS' own Markdown.
  plain = lib.replaceStrings [ "{option}" "{file}" "{command}" ] [ "" "" "" ];
  shown =
    value:
    if value ? _type && value._type == "literalExpression" then
      value.text
    else if value ? _type && value._type == "literalMD" then
      value.text
    else
      lib.generators.toPretty { } value;
  code =
    title: value:
    let
      text = shown value;
    in
    if lib.hasInfix "\n" text then
      "\n${title}:\n\n```nix\n${text}\n```\n"
    else
      "\n${title}: `${text}`\n";

  # `services.surefoot.settings` first, then what lies in it: that is configuration.md in other words.
  isSetting = option: lib.hasPrefix "services.surefoot.settings." option.name;
  entry = option: ''

    ### `${option.name}`

    ${lib.removeSuffix "\n" (plain option.description)}

    Type: ${option.type}
    ${lib.optionalString (option ? default) (code "Default" option.default)}${
      lib.optionalString (option ? example) (code "Example" option.example)
    }'';
  squeeze = text: lib.replaceStrings [ "\n\n\n" ] [ "\n\n" ] text;
in
squeeze ''
  # Options of the NixOS module

  What follows is made from the module itself.

  ## `services.surefoot`
  ${lib.concatMapStrings entry (lib.filter (option: !isSetting option) options)}
  ## `services.surefoot.settings`

  Every key of the [configuration](../configuration.md), with the same name.
  ${lib.concatMapStrings entry (lib.filter isSetting options)}''
