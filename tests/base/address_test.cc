#include "base/address.h"

#include <gtest/gtest.h>

#include <string>

namespace fmaserver::testing {
namespace {

TEST(AddressTest, HostAndPort) {
  const auto name = ParseHostPort("listen", "localhost:50051");
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(name->host, "localhost");
  EXPECT_EQ(name->port, 50051);
  EXPECT_EQ(ParseHostPort("listen", "0.0.0.0:0")->port, 0);
  EXPECT_EQ(ParseHostPort("listen", "a:65535")->port, 65535);
  EXPECT_EQ(ParseHostPort("listen", "[::1]:8080")->host, "::1");
}

TEST(AddressTest, WhatIsNoneIsRefusedWithWhatIsAllowed) {
  for (const char* text :
       {"",        ":",       "localhost", "127.0.0.1", ":80",   "a:",      "a:65536", "a:99999",
        "a:-1",    "a:+1",    "a: 1",      "a:1 ",      "a:0x1", "a:http",  "::1:80",  "[::1]",
        "[::1:80", "::1]:80", "[]:80",     "[a]:80",    "a:b:1", "a:000001"}) {
    const auto address = ParseHostPort("http", text);
    EXPECT_EQ(address.status().message(),
              "http is \"" + std::string(text) +
                  "\"; allowed: HOST:PORT or [IPV6]:PORT with a port from 0 to 65535");
  }
}

}  // namespace
}  // namespace fmaserver::testing
