// Addresses in words, on real sockets.
#include "server/net/listener.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/text.h"
#include "tests/server/net/sockets.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::net {
namespace {

using testing::ConnectTo;

FileDescriptor Connect(SocketAddress address, int port) {
  SetPort(address, port);
  FileDescriptor socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(socket.get(), address.get(), address.size) != 0) return {};
  return socket;
}

TEST(ListenerTest, RefusesWhatIsNoAddress) {
  for (const char* text :
       {"", ":", "127.0.0.1", "127.0.0.1:", ":50051", "127.0.0.1:99999", "127.0.0.1:-1",
        "127.0.0.1:65536", "127.0.0.1:http", "::1", "[]:1", "::1:50051"}) {
    testing::ExpectRefusal(Listen("listen", text).status(), {"listen is ", "HOST:PORT"});
  }
  testing::ExpectRefusal(Listen("listen", "unix:").status(), {"listen is ", "1 to 107 bytes"});
  testing::ExpectRefusal(Listen("listen", Concat("unix:", std::string(108, 'x'))).status(),
                         {"107"});
}

TEST(ListenerTest, SaysWhyAnAddressCannotBeHad) {
  const auto first = Listen("listen", "127.0.0.1:0");
  ASSERT_TRUE(first.ok()) << first.status();
  const auto again = Listen("listen", "127.0.0.1:" + std::to_string(first->port));
  EXPECT_EQ(again.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(again.status().message().find("Address already in use"), absl::string_view::npos);
  EXPECT_EQ(Listen("listen", "203.0.113.1:0").status().code(), absl::StatusCode::kUnavailable);
}

TEST(ListenerTest, AWildcardIsIpv4AndIpv6) {
  for (const char* text : {"0.0.0.0:0", "[::]:0"}) {
    const auto listener = Listen("listen", text);
    ASSERT_TRUE(listener.ok()) << listener.status();
    for (const char* local : {"127.0.0.1:0", "[::1]:0"}) {
      EXPECT_TRUE(Connect(Resolve("test", local)->front(), listener->port)) << text << local;
    }
  }
}

TEST(ListenerTest, ANameIsAllItsAddresses) {
  const auto addresses = Resolve("test", "localhost:0");
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  const auto listener = Listen("listen", "localhost:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(listener->sockets.size(), addresses->size());
  for (const SocketAddress& address : *addresses) EXPECT_TRUE(Connect(address, listener->port));
}

TEST(ListenerTest, AUnixSocketGoesWithItsListener) {
  const testing::TempFolder folder;
  const std::filesystem::path path = folder.path() / "socket";
  {
    const auto listener = Listen("listen", "unix:" + path.string());
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_EQ(listener->port, 0);
    EXPECT_TRUE(ConnectTo(listener->sockets.front().get()));
    // A living server keeps its place.
    EXPECT_EQ(Listen("listen", "unix:" + path.string()).status().code(),
              absl::StatusCode::kUnavailable);
    EXPECT_TRUE(std::filesystem::exists(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ListenerTest, AUnixSocketTakesThePlaceOfADeadOneOnly) {
  const testing::TempFolder folder;
  const std::string path = (folder.path() / "socket").string();
  {
    const SocketAddress address = *UnixAddress("test", path, /*abstract=*/false);
    const FileDescriptor dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(dead.get(), address.get(), address.size), 0);
  }
  EXPECT_TRUE(Listen("listen", "unix:" + path).ok());
  ASSERT_TRUE(testing::WriteFile(path, "a file of somebody"));
  EXPECT_EQ(Listen("listen", "unix:" + path).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(testing::ReadFile(path), "a file of somebody");
}

}  // namespace
}  // namespace fmaserver::net
