// cluster/types.hpp to and from libprotobuf's control messages, for hosted programs.
#pragma once

#include "net/cluster/types.hpp"
#include "net/schema/control.pb.h"

namespace tessera::net::host {

control::Resources to_proto(const cluster::Resources& r);
control::Component to_proto(const cluster::Component& c);
control::Vnode to_proto(const cluster::Vnode& v);
cluster::Resources from_proto(const control::Resources& r);
cluster::Component from_proto(const control::Component& c);
cluster::Vnode from_proto(const control::Vnode& v);

} // namespace tessera::net::host
