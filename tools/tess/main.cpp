// tess: the command line. CLI11 is included here and nowhere else.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "tools/tess/verbs.hpp"

using namespace tessera::tess;

int main(int argc, char** argv) {
    CLI::App app{"Tessera: boots disaggregated clusters and runs Linux programs in their vNodes.",
                 "tess"};
    app.require_subcommand(1);
    int status = 0;
    std::string dir;
    if (const char* from_environment = std::getenv("TESS_DIR")) dir = from_environment;
    auto verb = [&](CLI::App& parent, const char* name, const char* help) {
        CLI::App* v = parent.add_subcommand(name, help);
        v->add_option("--dir", dir, "the cluster's state folder")->type_name("FOLDER");
        return v;
    };

    std::string config_file, accelerator;
    bool restart = false;
    CLI::App* up = verb(app, "up", "boot a cluster");
    up->add_option("--config", config_file, "cluster.toml; without it, one component of each kind")
        ->type_name("FILE");
    up->add_option("--accelerator", accelerator, "overrides cluster.toml")
        ->check(CLI::IsMember({"auto", "kvm", "tcg"}));
    up->add_flag("--restart", restart, "stop the cluster first if it is already up");
    up->callback([&] { status = verb_up(dir, config_file, accelerator, restart); });

    CLI::App* down = verb(app, "down", "flush everything and stop the cluster");
    down->callback([&] { status = verb_down(dir); });

    bool json = false;
    CLI::App* show = verb(app, "status", "components, vNodes, and how they are");
    show->add_flag("--json", json, "as JSON");
    show->callback([&] { status = verb_status(dir, json); });

    RunOptions run_options;
    CLI::App* run = verb(app, "run", "run a program in a vNode; its exit status is tess's");
    run->add_option("--vnode", run_options.vnode, "which vNode")
        ->type_name("NAME")
        ->capture_default_str();
    run->add_flag("-t,--terminal", run_options.terminal, "give it this terminal");
    run->add_flag("-n,--no-stdin", run_options.no_input,
                  "leave our stdin alone: the program's is empty");
    run->add_option("--env", run_options.environment, "environment, may be repeated")
        ->type_name("K=V")
        ->allow_extra_args(false)
        ->check([](const std::string& s) {
            return s.find('=') == std::string::npos || s[0] == '=' ? "expected NAME=VALUE"
                                                                   : std::string();
        });
    run->add_option("--cwd", run_options.directory, "working directory")
        ->type_name("FOLDER")
        ->capture_default_str();
    run->add_flag("--greet", run_options.greet, "first say where the program runs");
    run->add_option("program", run_options.arguments, "after --: the program and its arguments")
        ->required();
    run->positionals_at_end();
    run->footer(
        "Exit status: the program's; 128 + N when signal N killed it; 127 not found; 126 not "
        "executable;\n"
        "125 when tess or the cluster failed. Example: tess run -- ls -l /bin\n"
        "Without -t, what is on stdin is read ahead for the program, so a loop that reads lines\n"
        "needs -n for each: while read f; do tess run -n -- rm \"$f\"; done <list");
    run->callback([&] { status = verb_run(dir, run_options); });

    std::string ps_vnode;
    CLI::App* ps = verb(app, "ps", "processes of all vNodes, or of one");
    ps->add_option("vnode", ps_vnode, "which vNode")->type_name("NAME");
    ps->callback([&] { status = verb_ps(dir, ps_vnode); });

    std::string vnode_name, vnode_memory;
    CLI::App* vnode = app.add_subcommand("vnode", "create, list and remove vNodes");
    vnode->require_subcommand(1);
    CLI::App* create = verb(*vnode, "create", "a new vNode");
    create->add_option("name", vnode_name, "its name")->required();
    create->add_option("--memory", vnode_memory, "limit, such as 512M");
    create->callback([&] { status = verb_vnode_create(dir, vnode_name, vnode_memory); });
    CLI::App* list = verb(*vnode, "list", "all vNodes");
    list->callback([&] { status = verb_vnode_list(dir); });
    CLI::App* remove = verb(*vnode, "rm", "kill what runs in a vNode and remove it with its files");
    remove->add_option("name", vnode_name, "its name")->required();
    remove->callback([&] { status = verb_vnode_remove(dir, vnode_name); });

    std::string from, to;
    CLI::App* copy = verb(app, "cp", "copy a file or a folder between this host and a vNode");
    copy->add_option("source", from, "PATH here, or VNODE:PATH")->required();
    copy->add_option("destination", to, "VNODE:PATH, or PATH here")->required();
    copy->footer(
        "A destination that is a folder gets the copy inside it; a PATH in a vNode that does not "
        "begin\nwith / is below /root. Examples: tess cp notes.txt main:   tess cp main:/etc .");
    copy->callback([&] { status = verb_copy(dir, from, to); });

    std::string name;
    bool follow = false;
    CLI::App* logs = verb(app, "logs", "what a component, a manager or the fabric has printed");
    logs->add_option("component", name, "p1, m1, s1, gpm, gmm, gsm, fabric")->required();
    logs->add_flag("-f,--follow", follow, "go on as it grows");
    logs->callback([&] { status = verb_logs(dir, name, follow); });

    double every = 1;
    unsigned rounds = 0;
    CLI::App* top =
        verb(app, "top", "load, memory, remote faults and write-backs, again and again");
    top->add_option("-d,--delay", every, "seconds between rounds")->check(CLI::Range(0.1, 3600.0));
    top->add_option("-n,--rounds", rounds, "stop after so many");
    top->callback([&] { status = verb_top(dir, every, rounds); });

    std::string assignment;
    CLI::App* set = verb(app, "set", "change a component's setting while it runs");
    set->add_option("component", name, "which one")->required();
    set->add_option("setting", assignment, "such as excache=16M")->required();
    set->callback([&] { status = verb_set(dir, name, assignment); });

    CLI::App* stats = verb(app, "stats", "counters of a component, a manager or the fabric");
    stats->add_option("component", name, "which one")->required();
    stats->callback([&] { status = verb_stats(dir, name); });

    std::vector<std::string> words;
    CLI::App* fabric = verb(app, "fabric", "make the network misbehave, or watch it");
    fabric->add_option("command", words, "see below")->required();
    fabric->footer(
        "  tess fabric set p1 loss=5%              also dup= reorder= corrupt= delay= jitter= "
        "rate=\n"
        "  tess fabric set p1 out delay=10ms       one direction: in (from p1) or out (to p1)\n"
        "  tess fabric partition p1 m1             tess fabric heal\n"
        "  tess fabric link p1 down                tess fabric link p1 up\n"
        "  tess fabric pcap all /tmp/x.pcap        tess fabric pcap all off\n"
        "  tess fabric clear all                   perfect again\n"
        "  tess fabric show                        tess fabric stats");
    fabric->callback([&] { status = verb_fabric(dir, words); });

    bool no_pause = false;
    CLI::App* tour = verb(app, "tour", "two minutes through what a disaggregated cluster does");
    tour->add_flag("--no-pause", no_pause, "do not wait for Enter between the steps");
    tour->callback([&] { status = verb_tour(dir, no_pause); });

    for (auto [what, help] : {std::pair{"kill", "kill -9 a component, a manager or the fabric"},
                              {"pause", "stop it without killing it (SIGSTOP)"},
                              {"resume", "let it go on"},
                              {"start", "start again what was killed"}}) {
        CLI::App* fault = verb(app, what, help);
        fault->add_option("component", name, "p1, m1, s1, gpm, gmm, gsm, fabric")->required();
        fault->callback([&, what] { status = verb_fault(dir, what, name); });
    }

    // Set last, or every verb would inherit it.
    app.footer(
        "A cluster lives in one folder (--dir, or TESS_DIR; default ~/.local/state/tess/default).\n"
        "Start with: tess up && tess run -t -- /bin/sh -l");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) return app.exit(e); // --help
        bool known = !app.get_subcommands().empty();
        std::string verb_name = known ? " " + app.get_subcommands()[0]->get_name() : "";
        if (!known && argc > 1 && argv[1][0] != '-')
            std::fprintf(stderr, "tess: no verb called '%s'; tess --help lists them\n", argv[1]);
        else
            std::fprintf(stderr, "tess: %s; see tess%s --help\n", e.what(), verb_name.c_str());
        return run->parsed() ? 125 : 2;
    }
    return status;
}
