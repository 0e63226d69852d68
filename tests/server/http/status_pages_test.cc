// What probes get while a server starts, runs and drains.
#include "server/status_pages.h"

#include <gtest/gtest.h>

#include <string>

namespace fmaserver::http {
namespace {

TEST(StatusPages, ReadinessTellsTheCasesApart) {
  const metrics::Exposition exposition;
  std::string loading = "loading";
  StatusPages pages(exposition, [&loading] { return loading; });
  const auto expect = [&pages](int status, const std::string& body) {
    EXPECT_EQ(pages.Answer("/readyz").status, status);
    EXPECT_EQ(pages.Answer("/readyz").body, body);
    EXPECT_EQ(pages.Answer("/livez").status, 200);
    for (const char* health : {"/health", "/healthz"}) {
      EXPECT_EQ(pages.Answer(health).status, status == 429 ? 200 : status);
    }
  };
  expect(503, "loading\n");
  loading = "loading tiny: 1 of 2 MiB of weights";
  expect(503, "loading tiny: 1 of 2 MiB of weights\n");
  bool full = false;
  pages.Serve([&full] { return full; });
  expect(200, "ready\n");
  full = true;
  expect(429, "overloaded\n");
  pages.Drain();
  expect(410, "draining\n");
}

TEST(StatusPages, KnowsItsPathsAlone) {
  const metrics::Exposition exposition;
  const StatusPages pages(exposition, [] { return "loading"; });
  EXPECT_EQ(pages.Answer("/version").body, "{\"version\":\"" FMA_VERSION "\"}\n");
  EXPECT_EQ(pages.Answer("/metrics").status, 200);
  EXPECT_EQ(pages.Answer("/").status, 404);
  EXPECT_EQ(pages.Answer("/metrics/").status, 404);
}

}  // namespace
}  // namespace fmaserver::http
