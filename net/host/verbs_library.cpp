// VerbsApi over libibverbs and librdmacm. QPs are made and moved through their states here rather
// than by librdmacm (its "external QP" way), because a roce::Port's QP exists before its connection
// does.
#include <arpa/inet.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <cerrno>
#include <cstring>

#include "net/host/verbs_api.hpp"

namespace tessera::net::host {
namespace {

constexpr int kResolveMs = 2000;
constexpr int kBacklog = 64;
constexpr unsigned kRetries = 7; // of the device; for RNR this means without end

Error from_errno(int e) {
    switch (e) {
        case ENODEV:
        case ENOENT:
        case ENXIO:
        case EADDRNOTAVAIL:
            return Error::NoDevice;
        case EADDRINUSE:
            return Error::Exists;
        case ENOMEM:
            return Error::NoMemory;
        case EPERM:
        case EACCES:
            return Error::NotPermitted;
        case EFAULT:
            return Error::BadAddress;
        case EINVAL:
            return Error::InvalidArgument;
        case EOPNOTSUPP:
            return Error::Unsupported;
        case ETIMEDOUT:
            return Error::Timeout;
        default:
            return Error::Io;
    }
}
Result<void> checked(int r) { // librdmacm: -1 and errno; libibverbs: the number itself
    if (r == 0) return {};
    return Fail(from_errno(r < 0 ? errno : r));
}

sockaddr_in socket_address(roce::Ipv4 a, uint16_t service) {
    sockaddr_in s{};
    s.sin_family = AF_INET;
    s.sin_port = htons(service);
    s.sin_addr.s_addr = htonl(a.value);
    return s;
}

roce::Status status_of(ibv_wc_status s) {
    switch (s) {
        case IBV_WC_SUCCESS:
            return roce::Status::Ok;
        case IBV_WC_REM_ACCESS_ERR:
            return roce::Status::RemoteAccess;
        case IBV_WC_REM_INV_REQ_ERR:
            return roce::Status::RemoteInvalid;
        case IBV_WC_REM_OP_ERR:
            return roce::Status::RemoteOperation;
        case IBV_WC_RNR_RETRY_EXC_ERR:
            return roce::Status::RnrExceeded;
        case IBV_WC_RETRY_EXC_ERR:
        case IBV_WC_RESP_TIMEOUT_ERR:
            return roce::Status::Timeout;
        case IBV_WC_LOC_LEN_ERR:
            return roce::Status::LocalLength;
        case IBV_WC_WR_FLUSH_ERR:
            return roce::Status::Flushed;
        default:
            return roce::Status::RemoteOperation; // it broke; the effect is unknown
    }
}

struct QueuePair {
    ibv_qp* qp = nullptr;
    ibv_cq* cq = nullptr;
    uint32_t mtu = 0;
};

QueuePair& queue_pair(VerbsHandle h) {
    return *static_cast<QueuePair*>(h);
}
rdma_cm_id* cm_id(VerbsHandle h) {
    return static_cast<rdma_cm_id*>(h);
}
ibv_mr* region(VerbsHandle h) {
    return static_cast<ibv_mr*>(h);
}

class VerbsLibrary final : public VerbsApi {
  public:
    ~VerbsLibrary() override {
        if (completions_) ibv_destroy_comp_channel(completions_);
        if (device_) rdma_destroy_id(device_);
        if (events_) rdma_destroy_event_channel(events_);
    }

    Result<void> open(roce::Ipv4 address) override {
        events_ = rdma_create_event_channel();
        if (!events_)
            return Fail(Error::NoDevice); // no /dev/infiniband/rdma_cm, or no device at all
        if (rdma_create_id(events_, &device_, nullptr, RDMA_PS_TCP) != 0) {
            device_ = nullptr;
            return Fail(from_errno(errno));
        }
        address_ = address;
        sockaddr_in own = socket_address(address, 0);
        TRY(checked(rdma_bind_addr(device_, reinterpret_cast<sockaddr*>(&own))));
        if (!device_->verbs) return Fail(Error::NoDevice); // an address, but of no RDMA device
        completions_ = ibv_create_comp_channel(device_->verbs);
        if (!completions_) return Fail(from_errno(errno));
        for (int fd : {events_->fd, completions_->fd})
            if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
                return Fail(from_errno(errno));
        return {};
    }
    std::array<int, 2> descriptors() const override { return {events_->fd, completions_->fd}; }

    Result<VerbsHandle> create_pd() override {
        ibv_pd* pd = ibv_alloc_pd(device_->verbs);
        if (!pd) return Fail(from_errno(errno));
        return pd;
    }
    void destroy_pd(VerbsHandle pd) override { ibv_dealloc_pd(static_cast<ibv_pd*>(pd)); }

    Result<Region> create_region(VerbsHandle pd, MutableBytes memory, uint64_t base,
                                 roce::Access access, bool written) override {
        unsigned flags = written ? IBV_ACCESS_LOCAL_WRITE : 0;
        if (static_cast<uint8_t>(access) & static_cast<uint8_t>(roce::Access::RemoteRead))
            flags |= IBV_ACCESS_REMOTE_READ;
        if (static_cast<uint8_t>(access) & static_cast<uint8_t>(roce::Access::RemoteWrite))
            flags |= IBV_ACCESS_REMOTE_WRITE;
        ibv_mr* mr =
            ibv_reg_mr_iova(static_cast<ibv_pd*>(pd), memory.data(), memory.size(), base, flags);
        if (!mr) return Fail(from_errno(errno));
        return Region{mr, mr->rkey};
    }
    void destroy_region(VerbsHandle r) override { ibv_dereg_mr(region(r)); }

    Result<VerbsHandle> create_qp(VerbsHandle pd, unsigned send_depth,
                                  unsigned receive_depth) override {
        auto q = std::make_unique<QueuePair>();
        q->cq = ibv_create_cq(device_->verbs, static_cast<int>(send_depth + receive_depth), nullptr,
                              completions_, 0);
        if (!q->cq) return Fail(from_errno(errno));
        ibv_qp_init_attr init{};
        init.send_cq = init.recv_cq = q->cq;
        init.qp_type = IBV_QPT_RC;
        init.sq_sig_all = 1;
        init.cap.max_send_wr = send_depth;
        init.cap.max_recv_wr = receive_depth;
        init.cap.max_send_sge = 2;
        init.cap.max_recv_sge = 1;
        q->qp = ibv_create_qp(static_cast<ibv_pd*>(pd), &init);
        int why = q->qp ? 0 : errno;
        if (q->qp) { // receives may be posted from INIT on
            ibv_qp_attr attr{};
            attr.qp_state = IBV_QPS_INIT;
            attr.port_num = device_->port_num;
            attr.qp_access_flags =
                IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
            why = ibv_modify_qp(
                q->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
        }
        if (why == 0) return q.release();
        if (q->qp) ibv_destroy_qp(q->qp);
        ibv_destroy_cq(q->cq);
        return Fail(from_errno(why));
    }
    void destroy_qp(VerbsHandle h) override {
        Own<QueuePair> q(&queue_pair(h));
        ibv_destroy_qp(q->qp);
        ibv_destroy_cq(q->cq); // its notifications have all been acknowledged
    }
    uint32_t qp_number(VerbsHandle h) override { return queue_pair(h).qp->qp_num; }
    uint32_t path_mtu(VerbsHandle h) override { return queue_pair(h).mtu; }

    Result<void> ready_qp(VerbsHandle h, VerbsHandle id) override {
        QueuePair& q = queue_pair(h);
        for (ibv_qp_state state : {IBV_QPS_RTR, IBV_QPS_RTS}) {
            ibv_qp_attr attr{};
            attr.qp_state = state;
            int mask = 0;
            TRY(checked(rdma_init_qp_attr(cm_id(id), &attr, &mask)));
            mask &= IBV_QP_DEST_QPN * 2 - 1; // kernels also set bits that ibv_modify_qp refuses
            TRY(checked(ibv_modify_qp(q.qp, &attr, mask)));
            if (state == IBV_QPS_RTR) q.mtu = 128u << attr.path_mtu;
        }
        return {};
    }
    void break_qp(VerbsHandle h) override {
        ibv_qp_attr attr{};
        attr.qp_state = IBV_QPS_ERR;
        (void)ibv_modify_qp(queue_pair(h).qp, &attr, IBV_QP_STATE);
    }

    Result<void> post_send(VerbsHandle h, const roce::WorkRequest& wr, uint64_t id,
                           std::span<const VerbsPiece> pieces) override {
        static constexpr ibv_wr_opcode kOpcodes[] = {IBV_WR_SEND, IBV_WR_SEND_WITH_IMM,
                                                     IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM,
                                                     IBV_WR_RDMA_READ};
        ibv_sge sge[2];
        size_t n = 0;
        for (const VerbsPiece& p : pieces.first(std::min<size_t>(pieces.size(), 2)))
            sge[n++] = element(p);
        ibv_send_wr w{}, *bad = nullptr;
        w.wr_id = id;
        w.sg_list = sge;
        w.num_sge = static_cast<int>(n);
        w.opcode = kOpcodes[static_cast<size_t>(wr.op)];
        w.imm_data = htonl(wr.immediate);
        w.wr.rdma.remote_addr = wr.remote_address;
        w.wr.rdma.rkey = wr.rkey.value;
        return posted(ibv_post_send(queue_pair(h).qp, &w, &bad));
    }
    Result<void> post_receive(VerbsHandle h, uint64_t id, const VerbsPiece& piece) override {
        ibv_sge sge = element(piece);
        ibv_recv_wr w{}, *bad = nullptr;
        w.wr_id = id;
        w.sg_list = &sge;
        w.num_sge = piece.memory.empty() ? 0 : 1;
        return posted(ibv_post_recv(queue_pair(h).qp, &w, &bad));
    }
    size_t poll(VerbsHandle h, std::span<VerbsCompletion> out) override {
        ibv_wc wc[16];
        int most = static_cast<int>(std::min(out.size(), std::size(wc)));
        int n = ibv_poll_cq(queue_pair(h).cq, most, wc);
        for (int i = 0; i < n; i++) {
            VerbsCompletion& c = out[static_cast<size_t>(i)];
            c = {.id = wc[i].wr_id, .status = status_of(wc[i].status), .length = wc[i].byte_len};
            if (wc[i].status != IBV_WC_SUCCESS) continue;
            if (wc[i].opcode == IBV_WC_RECV_RDMA_WITH_IMM)
                c.kind = VerbsCompletion::Kind::ReceivedWrite;
            else if (wc[i].opcode & IBV_WC_RECV)
                c.kind = VerbsCompletion::Kind::Received;
            if (wc[i].wc_flags & IBV_WC_WITH_IMM) c.immediate = ntohl(wc[i].imm_data);
        }
        return n > 0 ? static_cast<size_t>(n) : 0;
    }
    void arm(VerbsHandle h) override { (void)ibv_req_notify_cq(queue_pair(h).cq, 0); }
    bool completions_signalled() override {
        bool any = false;
        ibv_cq* cq;
        void* context;
        while (ibv_get_cq_event(completions_, &cq, &context) == 0) {
            ibv_ack_cq_events(cq, 1);
            any = true;
        }
        return any;
    }

    Result<VerbsHandle> create_id() override {
        rdma_cm_id* id = nullptr;
        TRY(checked(rdma_create_id(events_, &id, nullptr, RDMA_PS_TCP)));
        return id;
    }
    void destroy_id(VerbsHandle id) override { rdma_destroy_id(cm_id(id)); }
    Result<void> resolve_address(VerbsHandle id, roce::Ipv4 to, uint16_t service) override {
        sockaddr_in own = socket_address(address_, 0), peer = socket_address(to, service);
        return checked(rdma_resolve_addr(cm_id(id), reinterpret_cast<sockaddr*>(&own),
                                         reinterpret_cast<sockaddr*>(&peer), kResolveMs));
    }
    Result<void> resolve_route(VerbsHandle id) override {
        return checked(rdma_resolve_route(cm_id(id), kResolveMs));
    }
    Result<void> connect(VerbsHandle id, VerbsHandle qp, Bytes data) override {
        rdma_conn_param p = parameters(qp, data);
        return checked(rdma_connect(cm_id(id), &p));
    }
    Result<void> establish(VerbsHandle id) override { return checked(rdma_establish(cm_id(id))); }
    Result<void> listen(VerbsHandle id, uint16_t service) override {
        sockaddr_in own = socket_address(address_, service);
        TRY(checked(rdma_bind_addr(cm_id(id), reinterpret_cast<sockaddr*>(&own))));
        return checked(rdma_listen(cm_id(id), kBacklog));
    }
    Result<void> accept(VerbsHandle id, VerbsHandle qp, Bytes data) override {
        rdma_conn_param p = parameters(qp, data);
        return checked(rdma_accept(cm_id(id), &p));
    }
    void reject(VerbsHandle id, Bytes data) override {
        (void)rdma_reject(cm_id(id), data.data(), static_cast<uint8_t>(data.size()));
    }
    void disconnect(VerbsHandle id) override { (void)rdma_disconnect(cm_id(id)); }

    bool next_event(VerbsEvent& out) override {
        rdma_cm_event* e;
        if (rdma_get_cm_event(events_, &e) != 0) return false;
        out = {
            .kind = kind_of(e->event), .id = e->id, .listener = e->listen_id, .status = e->status};
        auto* data = static_cast<const std::byte*>(e->param.conn.private_data);
        bool has_data = out.kind == VerbsEvent::Kind::Request ||
                        out.kind == VerbsEvent::Kind::Response ||
                        out.kind == VerbsEvent::Kind::Rejected;
        if (has_data && data) out.data.assign(data, data + e->param.conn.private_data_len);
        auto* peer = reinterpret_cast<const sockaddr_in*>(rdma_get_peer_addr(e->id));
        if (peer && peer->sin_family == AF_INET)
            out.peer = roce::Ipv4(ntohl(peer->sin_addr.s_addr));
        rdma_ack_cm_event(e); // all of it was copied; destroy_id would wait for this
        return true;
    }

  private:
    static ibv_sge element(const VerbsPiece& p) {
        return {reinterpret_cast<uintptr_t>(p.memory.data()),
                static_cast<uint32_t>(p.memory.size()), p.region ? region(p.region)->lkey : 0};
    }
    static Result<void> posted(int r) {
        if (r == ENOMEM) return Fail(Error::Full);
        return checked(r);
    }
    static rdma_conn_param parameters(VerbsHandle qp, Bytes data) {
        rdma_conn_param p{};
        p.private_data = data.data();
        p.private_data_len = static_cast<uint8_t>(data.size());
        p.responder_resources = RDMA_MAX_RESP_RES; // as many READs as both devices can
        p.initiator_depth = RDMA_MAX_INIT_DEPTH;
        p.retry_count = kRetries;
        p.rnr_retry_count = kRetries;
        p.qp_num = queue_pair(qp).qp->qp_num;
        return p;
    }
    static VerbsEvent::Kind kind_of(rdma_cm_event_type e) {
        using Kind = VerbsEvent::Kind;
        switch (e) {
            case RDMA_CM_EVENT_ADDR_RESOLVED:
                return Kind::AddressResolved;
            case RDMA_CM_EVENT_ROUTE_RESOLVED:
                return Kind::RouteResolved;
            case RDMA_CM_EVENT_CONNECT_REQUEST:
                return Kind::Request;
            case RDMA_CM_EVENT_CONNECT_RESPONSE:
                return Kind::Response;
            case RDMA_CM_EVENT_ESTABLISHED:
                return Kind::Established;
            case RDMA_CM_EVENT_REJECTED:
                return Kind::Rejected;
            case RDMA_CM_EVENT_ADDR_ERROR:
            case RDMA_CM_EVENT_ROUTE_ERROR:
            case RDMA_CM_EVENT_CONNECT_ERROR:
            case RDMA_CM_EVENT_UNREACHABLE:
                return Kind::Failed;
            case RDMA_CM_EVENT_DISCONNECTED:
            case RDMA_CM_EVENT_DEVICE_REMOVAL:
                return Kind::Disconnected;
            default:
                return Kind::Other;
        }
    }

    roce::Ipv4 address_;
    rdma_event_channel* events_ = nullptr;
    rdma_cm_id* device_ = nullptr; // bound to our address: names the device
    ibv_comp_channel* completions_ = nullptr;
};

} // namespace

Own<VerbsApi> verbs_library() {
    return std::make_unique<VerbsLibrary>();
}

} // namespace tessera::net::host
