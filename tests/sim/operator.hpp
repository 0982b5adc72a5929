// The operator: what a person with `tess` does. Creates the vNodes, has them mounted on every
// pComponent, starts programs there and starts them again when the machine came back. Lives in the
// client's machine; whatever is refused is asked again.
#pragma once

#include <string>
#include <vector>

#include "tests/sim/cluster.hpp"
#include "tests/sim/files.hpp"

namespace tessera::sim {

class Operator final : public Load {
  public:
    Operator(Cluster& cluster, ClientBoot& boot, unsigned vnodes);
    void poll() override;
    Nanos next_deadline() override { return next_; }

    // Every vNode has its programs on every pComponent, with more done than `operations` at each.
    bool all_running() const;
    // From now on: programs end; then the vNodes are removed.
    void stop();
    bool all_ended() const;
    void remove_vnodes() { removing_ = true; }
    bool all_removed() const;
    // Of the loads there are now; a file operation counts as ten.
    uint64_t least_operations() const;

  private:
    struct Place {
        Host* host;
        size_t vnode;
        bool asking = false;
        uint64_t boot = 0; // for which the load was made
        PageLoad* pages = nullptr;
        FileLoad* files = nullptr;
    };
    struct Wanted {
        std::string name;
        VnodeId id; // once created
        bool asking = false;
        bool removed = false;
    };
    void create(Wanted& v);
    void remove(Wanted& v);
    void place(Place& p);
    void attach(Place& p);
    template <typename Reply, typename F>
    void ask(rpc::Opcode op, const google::protobuf::MessageLite& m, F then);

    Cluster& cluster_;
    ClientBoot& boot_;
    std::vector<Wanted> vnodes_;
    std::vector<Place> places_;
    Nanos next_{};
    bool stopping_ = false, removing_ = false;
};

} // namespace tessera::sim
