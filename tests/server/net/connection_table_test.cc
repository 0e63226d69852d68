// Which connections may stay, on real sockets.
#include "server/net/connection_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/server/net/sockets.h"

namespace fmaserver::net {
namespace {

using testing::AcceptFrom;
using testing::ConnectTo;

class ConnectionTableTest : public ::testing::Test {
 protected:
  ConnectionTableTest()
      : listener_(*Listen("test", "[::1]:0")), other_(*Listen("test", "127.0.0.1:0")) {}

  /// The server's side of a connection to `listener`.
  FileDescriptor NewConnection(const Listener& listener) {
    const int listening = listener.sockets.front().get();
    clients_.push_back(ConnectTo(listening));
    return AcceptFrom(listening);
  }

  ConnectionTable Table(int total, int per_address) {
    return ConnectionTable({.total = total, .per_address = per_address}, [this] { return time_; });
  }

  Clock::time_point time_ = Clock::now();
  Listener listener_;
  Listener other_;
  std::vector<FileDescriptor> clients_;
};

TEST_F(ConnectionTableTest, CountsUntilSomebodyCloses) {
  ConnectionTable table = Table(2, 2);
  FileDescriptor first = NewConnection(listener_);
  const FileDescriptor second = NewConnection(listener_);
  const FileDescriptor third = NewConnection(listener_);
  EXPECT_TRUE(table.Add(first.get()));
  EXPECT_FALSE(table.Counts().full);
  EXPECT_TRUE(table.Add(second.get()));
  time_ += std::chrono::seconds(1);
  EXPECT_TRUE(table.Counts().full);
  EXPECT_FALSE(table.Add(third.get()));
  first = FileDescriptor();
  time_ += std::chrono::seconds(1);
  EXPECT_FALSE(table.Counts().full);
  EXPECT_TRUE(table.Add(third.get()));
  const ConnectionCounts counts = table.Counts();
  EXPECT_EQ(counts.open, 2);
  EXPECT_EQ(counts.accepted, 3);
  EXPECT_EQ(counts.refused_server, 1);
  EXPECT_EQ(counts.refused_address, 0);
}

TEST_F(ConnectionTableTest, OneAddressLeavesRoomForOthers) {
  ConnectionTable table = Table(3, 2);
  const FileDescriptor first = NewConnection(listener_);
  const FileDescriptor second = NewConnection(listener_);
  const FileDescriptor third = NewConnection(listener_);
  const FileDescriptor other = NewConnection(other_);
  EXPECT_TRUE(table.Add(first.get()));
  EXPECT_TRUE(table.Add(second.get()));
  EXPECT_FALSE(table.Add(third.get()));
  EXPECT_TRUE(table.Add(other.get()));
  EXPECT_EQ(table.Counts().refused_address, 1);
}

// An IPv4 client of a socket for both has an IPv6 address on the server's side.
TEST_F(ConnectionTableTest, AnAddressIsTheSameOnEverySocket) {
  const Listener both = *Listen("test", "0.0.0.0:0");
  clients_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress local = Resolve("test", "127.0.0.1:" + std::to_string(both.port))->front();
  ASSERT_EQ(connect(clients_.back().get(), local.get(), local.size), 0);
  const FileDescriptor mapped = AcceptFrom(both.sockets.front().get());
  const FileDescriptor plain = NewConnection(other_);
  const FileDescriptor ipv6 = NewConnection(listener_);
  ConnectionTable table = Table(3, 1);
  EXPECT_TRUE(table.Add(mapped.get()));
  EXPECT_FALSE(table.Add(plain.get()));
  EXPECT_TRUE(table.Add(ipv6.get()));
}

// gRPC's connection is closed, and its number goes to the next one before anybody looks.
TEST_F(ConnectionTableTest, ANumberThatIsUsedAgainCountsOnce) {
  ConnectionTable table = Table(2, 2);
  FileDescriptor first = NewConnection(listener_);
  const int number = first.get();
  EXPECT_TRUE(table.Add(number));
  for (int i = 0; i < 10; ++i) {
    const FileDescriptor next = NewConnection(listener_);
    ASSERT_EQ(dup2(next.get(), number), number);
    EXPECT_TRUE(table.Add(number));
  }
  EXPECT_EQ(table.Counts().open, 1);
}

// The number goes to a file, or to a socket that is none of the table's.
TEST_F(ConnectionTableTest, ADescriptorOfAnotherKindIsNoConnection) {
  ConnectionTable table = Table(2, 2);
  const FileDescriptor first = NewConnection(listener_);
  const FileDescriptor second = NewConnection(listener_);
  EXPECT_TRUE(table.Add(first.get()));
  EXPECT_TRUE(table.Add(second.get()));
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const FileDescriptor one(pipe_ends[0]);
  const FileDescriptor two(pipe_ends[1]);
  dup2(one.get(), first.get());
  dup2(clients_.front().get(), second.get());
  EXPECT_EQ(table.Counts().open, 0);
}

// Who knocks at a full server does not make it look at every connection each time.
TEST_F(ConnectionTableTest, LooksSeldom) {
  ConnectionTable table = Table(1, 1);
  FileDescriptor first = NewConnection(listener_);
  const FileDescriptor second = NewConnection(listener_);
  EXPECT_TRUE(table.Add(first.get()));
  EXPECT_FALSE(table.Add(second.get()));  // it has looked
  first = FileDescriptor();
  EXPECT_FALSE(table.Add(second.get()));
  time_ += std::chrono::milliseconds(10);
  EXPECT_TRUE(table.Add(second.get()));
}

TEST_F(ConnectionTableTest, UnixSocketsHaveNoAddress) {
  const Listener local = *Listen("test", "unix-abstract:fma-connection-table-test");
  ConnectionTable table = Table(3, 1);
  const FileDescriptor first = NewConnection(local);
  const FileDescriptor second = NewConnection(local);
  EXPECT_TRUE(table.Add(first.get()));
  EXPECT_TRUE(table.Add(second.get()));
}

}  // namespace
}  // namespace fmaserver::net
