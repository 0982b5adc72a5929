// A fabric, a GPM and a pComponent in one child process, good enough to test the client half of
// tess without a kernel. Programs are little built-in ones: see FakeComponent::begin in the .cpp.
#pragma once

#include <sys/types.h>

#include <string>

#include "tools/tess/client.hpp"

namespace tessera::tess {

class FakeCluster {
  public:
    FakeCluster(); // starts the child and waits until its sockets are there
    ~FakeCluster();
    FakeCluster(const FakeCluster&) = delete;

    Paths paths;
    ClusterConfig config;

  private:
    pid_t child_ = -1;
};

} // namespace tessera::tess
