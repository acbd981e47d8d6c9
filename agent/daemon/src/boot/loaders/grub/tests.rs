use super::{
    environment::{BLOCK, SIGNATURE},
    menu::Entry,
    *,
};
use surefoot_api::finding::Level;

fn system(c: char) -> StorePath {
    StorePath::from_base_name(&format!("{}-nixos-system-{c}", c.to_string().repeat(32))).unwrap()
}

fn robot() -> (tempfile::TempDir, Grub) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("boot/grub");
    fs::create_dir_all(&directory).unwrap();
    let entry = |title: &str, c: char| {
        format!(
            "menuentry \"{title}\" --class nixos --unrestricted {{\n  linux ($drive1)//kernels/k init={}/init quiet\n  initrd ($drive1)//kernels/i\n}}\n",
            system(c)
        )
    };
    let menu = format!(
        "if [ \"${{next_entry}}\" ]; then\n  set default=\"${{next_entry}}\"\n  set next_entry=\n  save_env next_entry\nelse\n  set default=0\n  set timeout=0\nfi\n{}submenu \"NixOS - All configurations\" --class submenu {{\n{}{}}}\n",
        entry("NixOS - Default", 'a'),
        entry("NixOS - Configuration 2 (2026-01-01 - 26.05)", 'b'),
        entry("NixOS - Configuration 1 (2026-01-01 - 26.05)", 'a'),
    );
    fs::write(directory.join("grub.cfg"), menu).unwrap();
    let block = format!("{SIGNATURE}saved_entry=x\n");
    let block = format!("{block}{}", "#".repeat(BLOCK - block.len()));
    fs::write(directory.join("grubenv"), block).unwrap();
    let grub = Grub::find(root.path()).unwrap();
    (root, grub)
}

#[test]
fn its_menu_is_read_with_its_submenus() {
    let (_root, grub) = robot();
    assert_eq!(grub.default().unwrap(), Some(system('a')));
    let entries = menu::entries(&grub.menu().unwrap());
    assert_eq!(entries.len(), 3);
    assert_eq!(
        entries[1],
        Entry {
            title: "NixOS - All configurations>NixOS - Configuration 2 (2026-01-01 - 26.05)".into(),
            system: Some(system('b')),
        }
    );
}

#[test]
fn its_block_keeps_its_size_and_its_other_variables() {
    let (_root, grub) = robot();
    grub.environment.set_next(Some("A>B")).unwrap();
    assert_eq!(grub.environment.next().unwrap().as_deref(), Some("A>B"));
    assert_eq!(grub.started(&Mark::default()), Some(false));
    let block = fs::read(grub.directory.join("grubenv")).unwrap();
    assert_eq!(block.len(), BLOCK);
    grub.take_back(None).unwrap();
    assert_eq!(grub.started(&Mark::default()), Some(true));
    let kept = [("saved_entry".to_owned(), "x".to_owned())];
    assert_eq!(grub.environment.variables().unwrap(), kept);
    assert!(grub.environment.set_next(Some(&"x".repeat(BLOCK))).is_err());
}

#[test]
fn its_mark_lies_on_the_disk_as_ever() {
    let text = serde_json::to_string(&Mark::default()).unwrap();
    assert_eq!(text, r#"{"entry":null,"before":null}"#);
    // What another loader remembered is nothing to it.
    serde_json::from_str::<Mark>(r#"{"entry":"/boot/x","before":"/boot/y"}"#).unwrap();
}

#[test]
fn a_broken_block_is_refused_with_the_remedy() {
    let (_root, grub) = robot();
    fs::write(grub.directory.join("grubenv"), "nonsense").unwrap();
    let error = obstacle(&grub.check()).unwrap();
    assert!(error.contains("grub-editenv"), "{error}");
}

#[test]
fn a_menu_that_waits_when_an_entry_cannot_be_loaded_is_warned_about() {
    let (_root, grub) = robot();
    let found = |grub: &Grub| {
        grub.check()
            .into_iter()
            .find(|f| f.what == UNLOADABLE)
            .unwrap()
    };
    assert_eq!(found(&grub).level, Level::Warn);
    let menu = format!("set fallback=0\n{}", grub.menu().unwrap());
    fs::write(grub.directory.join("grub.cfg"), menu).unwrap();
    assert_eq!(found(&grub).level, Level::Ok);
}

#[test]
fn a_menu_must_clear_its_one_shot() {
    let (_root, grub) = robot();
    assert!(menu::clears_one_shot(&grub.menu().unwrap()).is_ok());
    let menu = grub.menu().unwrap();
    for (missing, word) in [
        ("save_env next_entry", "does not clear"),
        ("next_entry", "knows no one-shot"),
    ] {
        let path = grub.directory.join("grub.cfg");
        fs::write(path, menu.replace(missing, "x")).unwrap();
        let error = menu::clears_one_shot(&grub.menu().unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    }
}
