#include "tools/tess/tables.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

#include "tools/fabric/control.hpp"
#include "tools/tess/config.hpp"

namespace tessera::tess {
namespace {

using fabric::ipv4_text;

const char* kind_name(control::Kind k) {
    switch (k) {
        case control::KIND_PROCESS:
            return "process";
        case control::KIND_MEMORY:
            return "memory";
        case control::KIND_STORAGE:
            return "storage";
        case control::KIND_GPM:
            return "gpm";
        case control::KIND_GMM:
            return "gmm";
        case control::KIND_GSM:
            return "gsm";
        case control::KIND_CLIENT:
            return "client";
        default:
            return "unknown";
    }
}
const char* state_name(control::ComponentState s) {
    switch (s) {
        case control::COMPONENT_UP:
            return "up";
        case control::COMPONENT_SUSPECT:
            return "suspect";
        case control::COMPONENT_DEAD:
            return "dead";
        case control::COMPONENT_DRAINING:
            return "draining";
        case control::COMPONENT_LEFT:
            return "left";
        default:
            return "unknown";
    }
}
const char* state_name(control::VnodeState s) {
    switch (s) {
        case control::VNODE_CREATING:
            return "creating";
        case control::VNODE_READY:
            return "ready";
        case control::VNODE_REMOVING:
            return "removing";
        case control::VNODE_REMOVED:
            return "removed";
        default:
            return "unknown";
    }
}

std::string mib_text(uint64_t bytes) {
    if (bytes == 0) return "-";
    return std::to_string(bytes >> 20) + "M";
}
std::string duration_text(uint64_t ms) {
    char b[48];
    unsigned long long s = ms / 1000;
    if (s < 60)
        std::snprintf(b, sizeof b, "%llu.%llus", s, ms % 1000 / 100ull);
    else if (s < 3600)
        std::snprintf(b, sizeof b, "%llum%02llus", s / 60, s % 60);
    else
        std::snprintf(b, sizeof b, "%lluh%02llum", s / 3600, s / 60 % 60);
    return b;
}
std::string or_dash(const std::string& s) {
    return s.empty() ? "-" : s;
}

} // namespace

std::string table_text(const std::vector<std::vector<std::string>>& rows) {
    std::vector<size_t> widths;
    for (const auto& row : rows)
        for (size_t i = 0; i < row.size(); i++) {
            if (i == widths.size()) widths.push_back(0);
            widths[i] = std::max(widths[i], row[i].size());
        }
    std::string out;
    for (const auto& row : rows) {
        for (size_t i = 0; i < row.size(); i++) {
            out += row[i];
            if (i + 1 < row.size()) out.append(widths[i] - row[i].size() + 2, ' ');
        }
        out += '\n';
    }
    return out;
}

std::string json_text(std::string_view s) {
    std::string out = "\"";
    for (char c : s) {
        auto u = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\')
            (out += '\\') += c;
        else if (u < 32 || u == 127) {
            char b[8];
            std::snprintf(b, sizeof b, "\\u%04x", u);
            out += b;
        } else
            out += c;
    }
    return out + "\"";
}

std::string status_table(const control::StatusReply& s) {
    std::vector<std::vector<std::string>> rows = {{"NAME", "KIND", "STATE", "NODE", "ADDRESS", "UP",
                                                   "CPUS", "MEMORY", "FREE", "DISK", "DOMAIN",
                                                   "LOADER"}};
    for (const auto& c : s.components()) {
        const auto& m = c.component();
        const auto& r = m.resources();
        rows.push_back({m.name(), kind_name(m.kind()), state_name(m.state()),
                        std::to_string(m.node()), ipv4_text(m.ip()), duration_text(c.uptime_ms()),
                        r.cpus() ? std::to_string(r.cpus()) : "-", mib_text(r.memory_bytes()),
                        mib_text(r.memory_free_bytes()), mib_text(r.disk_bytes()),
                        or_dash(m.failure_domain()), or_dash(c.boot_loader())});
    }
    return table_text(rows) + "\n" + vnode_table(s);
}

std::string vnode_table(const control::StatusReply& s) {
    std::vector<std::vector<std::string>> rows = {
        {"VNODE", "ID", "STATE", "ADDRESS", "PROCESSES", "RUNS ON", "MEMORY"}};
    for (const auto& v : s.vnodes()) {
        std::string on;
        for (const std::string& c : v.mounted_on())
            on += (on.empty() ? "" : ",") + c;
        uint64_t limit = v.vnode().limits().memory_pages() * 4096;
        rows.push_back({v.vnode().name(), std::to_string(v.vnode().vnode()),
                        state_name(v.vnode().state()),
                        v.vnode().ip() ? ipv4_text(v.vnode().ip()) : "-",
                        std::to_string(v.processes()), or_dash(on), mib_text(limit)});
    }
    return table_text(rows);
}

std::string status_json(const control::StatusReply& s) {
    auto number = [](const char* name, uint64_t v) {
        return "\"" + std::string(name) + "\": " + std::to_string(v);
    };
    auto text = [](const char* name, const std::string& v) {
        return "\"" + std::string(name) + "\": " + json_text(v);
    };
    std::string out = "{\n  " + number("directory_version", s.directory_version()) + ",\n  " +
                      number("uptime_ms", s.uptime_ms()) + ",\n  \"components\": [";
    const char* comma = "";
    for (const auto& c : s.components()) {
        const auto& m = c.component();
        const auto& r = m.resources();
        out += std::string(comma) + "\n    {" + text("name", m.name()) + ", " +
               text("kind", kind_name(m.kind())) + ", " + text("state", state_name(m.state())) +
               ", " + number("node", m.node()) + ", " + text("address", ipv4_text(m.ip())) + ", " +
               text("incarnation", std::to_string(m.incarnation())) + ", " +
               text("failure_domain", m.failure_domain()) + ", " +
               text("boot_loader", c.boot_loader()) + ", " + number("uptime_ms", c.uptime_ms()) +
               ", " + number("heartbeat_age_ms", c.heartbeat_age_ms()) + ", " +
               number("cpus", r.cpus()) + ", " + number("memory_bytes", r.memory_bytes()) + ", " +
               number("memory_free_bytes", r.memory_free_bytes()) + ", " +
               number("disk_bytes", r.disk_bytes()) + ", " +
               number("disk_free_bytes", r.disk_free_bytes()) + ", " +
               number("load_permille", r.load_permille()) + ", " +
               number("processes", r.processes()) + ", " +
               number("excache_lines", r.excache_lines()) + ", " +
               number("excache_dirty", r.excache_dirty()) + ", " +
               number("remote_faults", r.remote_faults()) + ", " +
               number("write_backs", r.write_backs()) + "}";
        comma = ",";
    }
    out += "\n  ],\n  \"vnodes\": [";
    comma = "";
    for (const auto& v : s.vnodes()) {
        out += std::string(comma) + "\n    {" + text("name", v.vnode().name()) + ", " +
               number("id", v.vnode().vnode()) + ", " +
               text("state", state_name(v.vnode().state())) + ", " +
               text("address", ipv4_text(v.vnode().ip())) + ", " +
               number("processes", v.processes()) + ", \"mounted_on\": [";
        const char* inner = "";
        for (const std::string& c : v.mounted_on())
            out += std::string(inner) + json_text(c), inner = ", ";
        out += "]}";
        comma = ",";
    }
    return out + "\n  ]\n}\n";
}

std::string greeting_text(const control::StatusReply& s, const std::string& vnode,
                          const std::string& computes, const std::string& tess_command,
                          const std::string& options) {
    std::string address, holds, stores;
    auto append = [](std::string& list, const std::string& name) {
        list += (list.empty() ? "" : ", ") + name;
    };
    for (const auto& v : s.vnodes()) {
        if (v.vnode().name() != vnode) continue;
        if (v.vnode().ip()) address = " (" + ipv4_text(v.vnode().ip()) + ")";
        for (const auto& c : s.components()) {
            if (c.component().node() == v.vnode().storage_node())
                append(stores, c.component().name());
            for (const auto& h : v.vnode().homes())
                if (h.node() == c.component().node()) append(holds, c.component().name());
        }
    }
    return "Welcome to vNode '" + vnode + "'" + address +
           ", a Linux node made of separate machines.\n" + "It computes on " + computes +
           ", its memory is held by " + or_dash(holds) + ", its files are stored by " +
           or_dash(stores) + ".\n" +
           "Try: ls -l /bin | less    top    and, in another terminal in this folder:\n" + "     " +
           tess_command + " tour" + options + "    (leave here with exit or Ctrl-D)\n";
}

std::string process_table(const control::StatusReply& status, const std::vector<ProcessRow>& rows) {
    std::map<uint32_t, std::string> vnodes;
    for (const auto& v : status.vnodes())
        vnodes[v.vnode().vnode()] = v.vnode().name();
    std::vector<std::vector<std::string>> t = {
        {"VNODE", "PID", "PPID", "PGRP", "UID", "S", "TIME", "RESIDENT", "VIRTUAL", "ON", "NAME"}};
    for (const ProcessRow& row : rows) {
        const schema::ProcessEntry& e = row.entry;
        auto it = vnodes.find(e.vnode);
        t.push_back(
            {it != vnodes.end() ? it->second : std::to_string(e.vnode), std::to_string(e.pid),
             std::to_string(e.parent), std::to_string(e.group), std::to_string(e.uid),
             std::string(1, static_cast<char>(e.state)), duration_text(e.cpu_ns / 1'000'000),
             std::to_string(e.resident_lines * 4) + "K", std::to_string(e.virtual_pages * 4) + "K",
             row.component, std::string(e.name, strnlen(e.name, sizeof e.name))});
    }
    return table_text(t);
}

std::string top_table(const control::StatusReply& before, const control::StatusReply& now,
                      double seconds) {
    std::map<std::string, const control::Resources*> old;
    for (const auto& c : before.components())
        old[c.component().name()] = &c.component().resources();
    std::vector<std::vector<std::string>> t = {{"NAME", "KIND", "STATE", "LOAD", "PROCS", "FREE",
                                                "EXCACHE", "DIRTY", "FAULTS/S", "WRITEBACKS/S",
                                                "HEARTBEAT"}};
    for (const auto& c : now.components()) {
        const auto& r = c.component().resources();
        auto it = old.find(c.component().name());
        auto rate = [&](uint64_t a, uint64_t b) {
            char text[32];
            std::snprintf(text, sizeof text, "%.0f",
                          b >= a ? static_cast<double>(b - a) / seconds : 0.0);
            return std::string(text);
        };
        char load[32];
        std::snprintf(load, sizeof load, "%u.%02u", r.load_permille() / 1000,
                      r.load_permille() % 1000 / 10);
        t.push_back({c.component().name(), kind_name(c.component().kind()),
                     state_name(c.component().state()), load, std::to_string(r.processes()),
                     mib_text(r.memory_free_bytes()),
                     r.excache_lines() ? std::to_string(r.excache_lines() * 4) + "K" : "-",
                     r.excache_lines() ? std::to_string(r.excache_dirty() * 4) + "K" : "-",
                     it == old.end() ? std::to_string(r.remote_faults()) + " total"
                                     : rate(it->second->remote_faults(), r.remote_faults()),
                     it == old.end() ? std::to_string(r.write_backs()) + " total"
                                     : rate(it->second->write_backs(), r.write_backs()),
                     duration_text(c.heartbeat_age_ms())});
    }
    return table_text(t);
}

} // namespace tessera::tess
