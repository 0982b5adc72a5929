#include <gtest/gtest.h>

#include <algorithm>

#include "tools/tess/plan.hpp"

namespace tessera::tess {
namespace {

const std::string kKey(64, 'e');

struct PlanTest : testing::Test {
    Paths paths{"/state", "/sock"};
    Installation here{"/opt/bin", "/opt/share/tessera"};
    Machine machine;
    ClusterConfig config = parse_config(default_config_text(), "default").value();
    Plan plan() { return make_plan(config, paths, here, machine, kKey).value(); }
    static bool has(const Arguments& a, const std::string& part) {
        return std::any_of(a.begin(), a.end(),
                           [&](auto& s) { return s.find(part) != std::string::npos; });
    }
};

TEST_F(PlanTest, GivesEveryPortItsOwnAddressAndPins) {
    Plan p = plan();
    std::string ports = p.files.at(0).text;
    EXPECT_NE(ports.find("port add gpm mac=02:54:45:53:00:01 ip=10.77.0.1\n"), std::string::npos);
    EXPECT_NE(ports.find("port add c0 mac=02:54:45:53:00:40 ip=10.77.0.64\n"), std::string::npos);
    EXPECT_NE(ports.find("port add s1 mac=02:54:45:53:01:03 ip=10.77.1.3\n"), std::string::npos);
    std::vector<uint32_t> ips;
    for (const Port& port : p.ports)
        ips.push_back(port.ip);
    std::sort(ips.begin(), ips.end());
    EXPECT_EQ(std::adjacent_find(ips.begin(), ips.end()), ips.end());
}

TEST_F(PlanTest, NeverPutsTheKeyOnACommandLineAndKeepsItPrivate) {
    Plan p = plan();
    std::vector<Started> all = p.components;
    all.insert(all.end(), p.managers.begin(), p.managers.end());
    all.push_back(p.fabric);
    for (const Started& one : all)
        EXPECT_FALSE(has(one.arguments, kKey)) << one.name;
    unsigned with_key = 0;
    for (const File& f : p.files)
        if (f.text.find(kKey) != std::string::npos) {
            EXPECT_EQ(f.mode, 0600u) << f.path;
            with_key++;
        }
    EXPECT_EQ(with_key, 3u);
}

TEST_F(PlanTest, GivesMachinesWhatTheyNeedAndNothingElse) {
    Plan p = plan();
    ASSERT_EQ(p.components.size(), 3u);
    const Arguments &process = p.components[0].arguments, &storage = p.components[2].arguments;
    EXPECT_TRUE(has(process, "local.path=/sock/p1.g,remote.type=unix,remote.path=/sock/p1.s"));
    EXPECT_TRUE(has(process, "mac=02:54:45:53:01:01,host_mtu=9000"));
    EXPECT_TRUE(has(process, "opt/tessera/config,file=/state/p1.config"));
    EXPECT_TRUE(has(process, "tcg,thread=multi"));
    EXPECT_FALSE(has(process, "nvme"));
    EXPECT_TRUE(has(storage, "/state/s1.disk,cache=unsafe"));
    config.components[2].disk_writeback = true;
    machine.kvm = true;
    p = plan();
    EXPECT_TRUE(has(p.components[2].arguments, "/state/s1.disk,cache=writeback"));
    EXPECT_TRUE(has(p.components[0].arguments, "kvm"));
}

TEST_F(PlanTest, WantsFirmwareWhenUefiIsAskedFor) {
    config.components[1].uefi = true;
    auto p = make_plan(config, paths, here, machine, kKey);
    ASSERT_FALSE(p);
    EXPECT_NE(p.error().find("ovmf"), std::string::npos);
    machine.uefi = "/fw";
    EXPECT_TRUE(
        has(plan().components[1].arguments, "if=pflash,unit=0,format=raw,readonly=on,file=/fw"));
}

} // namespace
} // namespace tessera::tess
