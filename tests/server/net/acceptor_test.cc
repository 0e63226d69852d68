// Accepting, also with no descriptor left, over real sockets.
#include "server/net/acceptor.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "tests/server/net/sockets.h"

namespace fmaserver::net {
namespace {

using testing::ConnectTo;
using testing::IsClosed;

class AcceptorTest : public ::testing::Test {
 protected:
  void Start(ConnectionLimits limits) {
    auto listener = Listen("test", "127.0.0.1:0");
    ASSERT_TRUE(listener.ok()) << listener.status();
    listening_ = FileDescriptor(dup(listener->sockets.front().get()));
    table_ = std::make_shared<ConnectionTable>(limits);
    auto acceptor = Acceptor::Start(*std::move(listener), table_, [this](FileDescriptor socket) {
      const std::lock_guard lock(mutex_);
      served_.push_back(std::move(socket));
      came_.notify_all();
    });
    ASSERT_TRUE(acceptor.ok()) << acceptor.status();
    acceptor_ = *std::move(acceptor);
  }

  bool AwaitServed(size_t count) {
    std::unique_lock lock(mutex_);
    return came_.wait_for(lock, std::chrono::seconds(10), [&] { return served_.size() >= count; });
  }

  FileDescriptor listening_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<FileDescriptor> served_;
  std::shared_ptr<ConnectionTable> table_;
  std::unique_ptr<Acceptor> acceptor_;  // its thread uses what is above
};

TEST_F(AcceptorTest, DisconnectsWhoIsOverTheLimit) {
  Start({.total = 2, .per_address = 2});
  const FileDescriptor first = ConnectTo(listening_.get());
  const FileDescriptor second = ConnectTo(listening_.get());
  ASSERT_TRUE(AwaitServed(2));
  EXPECT_TRUE(IsClosed(ConnectTo(listening_.get())));
  EXPECT_EQ(table_->Counts().refused_server, 1);
}

/// Leaves the process no descriptor to make.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const FileDescriptor next(dup(0));
    const rlimit none{.rlim_cur = static_cast<rlim_t>(next.get()), .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(AcceptorTest, IsNotDeafAfterDescriptorsRanOut) {
  Start({.total = 100, .per_address = 100});
  const SocketAddress address = LocalAddress(listening_.get());
  FileDescriptor early(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  {
    const NoDescriptors none;
    ASSERT_EQ(connect(early.get(), address.get(), address.size), 0);
    EXPECT_TRUE(IsClosed(early));
  }
  EXPECT_EQ(table_->Counts().refused_descriptors, 1);
  const FileDescriptor late = ConnectTo(listening_.get());
  EXPECT_TRUE(AwaitServed(1));
}

TEST_F(AcceptorTest, ListensNoMoreAfterItsEnd) {
  Start({.total = 2, .per_address = 2});
  const SocketAddress address = LocalAddress(listening_.get());
  listening_ = FileDescriptor();
  acceptor_.reset();
  const FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_NE(connect(socket.get(), address.get(), address.size), 0);
}

}  // namespace
}  // namespace fmaserver::net
