// The page, and what it is told of the model.
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/openai/page/page.h"
#include "tests/server/openai/door_fixture.h"
#include "tests/server/openai/http_client.h"

namespace fmaserver::openai {
namespace {

using testing::Door;
using testing::Get;
using testing::HttpAnswer;

TEST(PageRoutesTest, ThePageComesWithItsPolicy) {
  const Door door;
  const HttpAnswer answer = Get(door.port(), "/");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, page::Page());
  EXPECT_EQ(answer.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(answer.headers.at("content-security-policy"),
            page::ContentSecurityPolicy(page::Page()));
  EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
}

TEST(PageRoutesTest, OnlyThatPathIsThePage) {
  const Door door;
  EXPECT_EQ(Get(door.port(), "/index.html").status, 404);
  EXPECT_EQ(testing::Post(door.port(), "/", "{}").status, 405);
}

TEST(PageRoutesTest, AModelTellsItsHierarchyAndWhatASequenceCosts) {
  Door door;
  const auto models = nlohmann::json::parse(Get(door.port(), "/v1/models").body);
  const nlohmann::json& shape = models["data"][0]["fma"];
  const engine::Model& model = door.engine().model();
  const kernels::AttentionSpec& attention = model.config().attention;
  EXPECT_EQ(shape["group_size"], attention.hierarchy.group_size);
  EXPECT_EQ(shape["rank"], attention.hierarchy.rank);
  EXPECT_EQ(shape["levels"], attention.hierarchy.num_levels);
  EXPECT_EQ(shape["slot_bytes"], model.slot_bytes());
  const int each = 2 * shape["layers"].get<int>() * shape["kv_heads"].get<int>() *
                   shape["head_dim"].get<int>() * shape["cache_bytes_per_element"].get<int>();
  EXPECT_EQ(shape["full_cache_bytes_per_token"], each);
  EXPECT_EQ(shape["archive_bytes_per_token"], 0);
  EXPECT_EQ(shape["chat"], false);
  EXPECT_EQ(shape["sampling"]["temperature"], 1);
}

}  // namespace
}  // namespace fmaserver::openai
