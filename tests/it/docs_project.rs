//! `fixtures/projects/docs`: generated inputs, pages, an index; once, and on save.

use crate::support::{DEFAULTS, Project};
use crate::watcher::Watcher;

const ALL: [&str; 4] = ["codegen", "render", "index", "menu"];

#[test]
fn the_site_is_generated_in_order_and_only_once() {
    let project = Project::from_fixture("docs");
    project.run_json(DEFAULTS).ok().assert_ran(&ALL);
    assert_eq!(project.read("site/menu.txt"), "Grinding\nStorage\nWater\n");
    assert!(
        project
            .read("site/pages/storage.html")
            .contains("<strong>dry</strong> rooms &amp; sealed")
    );
    assert!(
        project
            .read("site/index.html")
            .contains("<a href=\"pages/water.html\">water</a> (2)")
    );
    project.run_json(DEFAULTS).ok().assert_ran(&[]);
}

#[test]
fn the_text_of_a_page_leaves_the_menu_alone_and_its_title_does_not() {
    let project = Project::from_fixture("docs");
    project.run(["run"]).ok();
    project.edit("pages/water.md", "Ice stops", "Frost stops");
    project
        .run_json(DEFAULTS)
        .ok()
        .assert_ran(&["codegen", "render", "index"]);
    assert!(
        project
            .read("site/pages/water.html")
            .contains("Frost stops")
    );
    project.edit("pages/water.md", "# Water", "# The race");
    project.run_json(DEFAULTS).ok().assert_ran(&ALL);
    assert_eq!(
        project.read("site/menu.txt"),
        "Grinding\nStorage\nThe race\n"
    );
}

#[test]
fn a_page_that_goes_takes_its_output_with_it() {
    let project = Project::from_fixture("docs");
    project.run(["run"]).ok();
    project.remove("pages/water.md");
    project.run_json(DEFAULTS).ok().assert_ran(&ALL);
    assert!(!project.exists("site/pages/water.html"));
    assert!(!project.read("site/index.html").contains("water"));
}

#[test]
fn while_watching_saves_new_pages_and_tools_are_followed() {
    let project = Project::from_fixture("docs");
    let mut watcher = Watcher::start(&project, DEFAULTS);
    project.write("pages/bread.md", "# Bread\n\nFlour, water, salt.\n");
    watcher.expect_runs(&ALL);
    assert_eq!(
        project.read("site/menu.txt"),
        "Bread\nGrinding\nStorage\nWater\n"
    );
    project.edit("tools/markdown.awk", "\"<h1>\"", "\"<h1 class='title'>\"");
    watcher.wait_finished("render", "done");
    watcher.wait_idle();
    assert!(
        project
            .read("site/pages/bread.html")
            .contains("<h1 class='title'>Bread</h1>")
    );
    project.edit(
        "tools/menu.sh",
        "gen/nav.html >",
        "gen/nav.html | sort -r >",
    );
    watcher.expect_runs(&["menu"]);
    assert_eq!(
        project.read("site/menu.txt"),
        "Water\nStorage\nGrinding\nBread\n"
    );
}
