#include <gtest/gtest.h>

#include "tools/tess/config.hpp"

namespace tessera::tess {
namespace {

const char* kSmall = R"(
[[component]]
name = "p1"
kind = "process"
[[component]]
name = "m1"
kind = "memory"
[[component]]
name = "s1"
kind = "storage"
)";

std::string problem_of(const std::string& text) {
    auto c = parse_config(text, "c.toml");
    return c ? "" : c.error();
}

TEST(ClusterConfig, TheDefaultIsWhatTheUserGuideSays) {
    auto c = parse_config(default_config_text(), "default");
    ASSERT_TRUE(c) << c.error();
    ASSERT_EQ(c->components.size(), 3u);
    for (const ComponentConfig& one : c->components) {
        EXPECT_EQ(one.cpus, 1u);
        EXPECT_EQ(one.memory, 256ull << 20);
        EXPECT_FALSE(one.uefi);
    }
    EXPECT_EQ(c->components[0].excache, 64ull << 20);
    EXPECT_EQ(c->components[2].disk, 1ull << 30);
    ASSERT_EQ(c->vnodes.size(), 1u);
    EXPECT_EQ(c->vnodes[0].name, "main");
    EXPECT_EQ(c->network, 0x0a4d0000u);
}

TEST(ClusterConfig, FillsInWhatIsNotSaid) {
    auto c = parse_config(kSmall, "c.toml");
    ASSERT_TRUE(c) << c.error();
    EXPECT_EQ(c->components[1].failure_domain, "m1");
    EXPECT_EQ(c->vnodes.at(0).name, "main");
    EXPECT_EQ(c->accelerator, Accelerator::Auto);
}

TEST(ClusterConfig, NamesFileLineAndWhatWasExpected) {
    std::string s = kSmall; // 10 lines
    EXPECT_NE(problem_of(s + "[cluster]\nspeed = 3\n").find("c.toml:12: unknown key 'speed'"),
              std::string::npos);
    EXPECT_NE(problem_of(s + "[cluster]\nspeed = 3\n").find("network, accelerator, join_timeout"),
              std::string::npos);
    EXPECT_EQ(problem_of("[[component]\n").substr(0, 9), "c.toml:1:");
    EXPECT_NE(problem_of(s + "[[component]]\nname = \"p1\"\nkind = \"memory\"\n")
                  .find("a second component called 'p1'"),
              std::string::npos);
    EXPECT_NE(problem_of(s + "[[component]]\nname = \"x\"\nkind = \"disk\"\n")
                  .find("\"process\", \"memory\", \"storage\""),
              std::string::npos);
    EXPECT_NE(problem_of(s + "[[component]]\nname = \"x\"\nkind = \"memory\"\nmemory = 256\n")
                  .find("such as \"64M\""),
              std::string::npos);
    EXPECT_NE(problem_of(s + "[[component]]\nname = \"x\"\nkind = \"memory\"\nexcache = \"1M\"\n")
                  .find("unknown key"),
              std::string::npos);
    EXPECT_NE(
        problem_of(s + "[[component]]\nname = \"x\"\nkind = \"process\"\nexcache = \"255M\"\n")
            .find("a quarter"),
        std::string::npos);
    EXPECT_NE(problem_of(s + "[[component]]\nname = \"gpm\"\nkind = \"memory\"\n").find("taken"),
              std::string::npos);
    EXPECT_NE(problem_of(s + "[[component]]\nname = \"../x\"\nkind = \"memory\"\n")
                  .find("expected a letter"),
              std::string::npos);
    EXPECT_NE(problem_of(s + "[cluster]\nnetwork = \"10.77.1.0/16\"\n").find("such as"),
              std::string::npos);
    EXPECT_NE(problem_of(s + "[[fabric.link]]\nport = \"p9\"\n").find("'p9' is no component"),
              std::string::npos);
    EXPECT_NE(problem_of(s + "[[fabric.link]]\nport = \"p1\"\nimpairment = \"loss=x\"\n")
                  .find("'loss=x'"),
              std::string::npos);
    EXPECT_NE(
        problem_of("[[component]]\nname = \"p1\"\nkind = \"process\"\n").find("kind = \"memory\""),
        std::string::npos);
    EXPECT_NE(problem_of("component = 5\n"), "");
    EXPECT_NE(problem_of("[component]\nname = \"p1\"\n"), "");
    EXPECT_FALSE(load_config("/nonexistent/cluster.toml"));
}

TEST(Sizes, ReadsAndWritesWholeUnits) {
    EXPECT_EQ(parse_size("16M").value(), 16ull << 20);
    EXPECT_EQ(parse_size("4096").value(), 4096u);
    EXPECT_EQ(parse_size("1T").value(), 1ull << 40);
    for (const char* bad : {"", "M", "16MB", "-1M", "1.5G", "99999999T"})
        EXPECT_FALSE(parse_size(bad)) << bad;
    EXPECT_EQ(size_text(64ull << 20), "64M");
    EXPECT_EQ(size_text(1536ull << 20), "1536M");
    EXPECT_EQ(size_text(0), "0");
}

} // namespace
} // namespace tessera::tess
