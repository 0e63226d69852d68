// Whom a connection counts for.
#include "server/net/socket_address.h"

#include <gtest/gtest.h>

#include <string>

namespace fmaserver::net {
namespace {

std::string HostOfText(const std::string& address) {
  return HostOf(Resolve("test", address)->front());
}

TEST(HostOfTest, AnIpv4AddressIsOneHost) {
  EXPECT_EQ(HostOfText("192.0.2.1:1"), std::string("\xc0\x00\x02\x01", 4));
  EXPECT_EQ(HostOfText("192.0.2.1:1"), HostOfText("192.0.2.1:2"));
  EXPECT_NE(HostOfText("192.0.2.1:1"), HostOfText("192.0.2.2:1"));
}

TEST(HostOfTest, AnIpv4AddressIsTheSameMappedIntoIpv6) {
  EXPECT_EQ(HostOfText("[::ffff:192.0.2.1]:1"), HostOfText("192.0.2.1:1"));
}

// A host may take every address of its network, as many as it likes.
TEST(HostOfTest, AnIpv6NetworkOf64BitsIsOneHost) {
  const std::string host = HostOfText("[2001:db8:0:1::1]:1");
  EXPECT_EQ(host.size(), 8);
  EXPECT_EQ(HostOfText("[2001:db8:0:1:ffff:ffff:ffff:ffff]:1"), host);
  EXPECT_NE(HostOfText("[2001:db8:0:2::1]:1"), host);
  EXPECT_NE(HostOfText("[2001:db8:1:1::1]:1"), host);
}

TEST(HostOfTest, AUnixSocketHasNone) {
  EXPECT_EQ(HostOf(*UnixAddress("test", "/run/fma.sock", false)), "");
}

}  // namespace
}  // namespace fmaserver::net
