// Control messages as a component decodes them.
#include "net/cluster/codec.hpp"

#include <gtest/gtest.h>

#include "net/schema/control.pb.h"

namespace tessera::cluster {
namespace {

template <typename T>
T decoded(const google::protobuf::MessageLite& m, const pb_msgdesc_t* fields) {
    std::string bytes = m.SerializeAsString();
    auto r = decode_as<T>(bytes_of(std::string_view(bytes)), fields);
    EXPECT_TRUE(r);
    return r ? *r : T{};
}

// A newer peer's, or an enemy's: under UBSan, reading them as the enum ends the program.
TEST(Codec, NumbersThatNoEnumHasBecomeNone) {
    for (int number : {8, 1000, INT32_MAX}) { // nanopb itself refuses negative ones
        control::Component c;
        c.set_kind(static_cast<control::Kind>(number));
        c.set_state(static_cast<control::ComponentState>(number));
        Component component =
            component_from(decoded<tessera_control_Component>(c, tessera_control_Component_fields));
        EXPECT_EQ(component.kind, rpc::NodeKind::None);
        EXPECT_EQ(component.state, ComponentState::Unknown);

        control::Vnode v;
        v.set_state(static_cast<control::VnodeState>(number));
        EXPECT_EQ(vnode_from(decoded<tessera_control_Vnode>(v, tessera_control_Vnode_fields)).state,
                  VnodeState::None);

        control::HeartbeatReply h;
        h.set_verdict(static_cast<control::HeartbeatVerdict>(number));
        auto reply =
            decoded<tessera_control_HeartbeatReply>(h, tessera_control_HeartbeatReply_fields);
        EXPECT_EQ(enum_number(reply.verdict), static_cast<uint32_t>(number));
    }
}

TEST(Codec, NumbersOfOursStay) {
    control::Component c;
    c.set_kind(control::KIND_CLIENT);
    c.set_state(control::COMPONENT_LEFT);
    Component component =
        component_from(decoded<tessera_control_Component>(c, tessera_control_Component_fields));
    EXPECT_EQ(component.kind, rpc::NodeKind::Client);
    EXPECT_EQ(component.state, ComponentState::Left);
}

} // namespace
} // namespace tessera::cluster
