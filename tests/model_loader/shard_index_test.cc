#include "model_loader/shard_index.h"

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace fmaserver::model {
namespace {

using testing::ExpectRefusal;

TEST(ShardIndexTest, GroupsTensorsByShard) {
  const auto index = ParseShardIndex(
      R"({"metadata":{"total_size":12},
          "weight_map":{"a":"x.safetensors","b":"y.safetensors","c":"x.safetensors"}})",
      "index");
  ASSERT_TRUE(index.ok()) << index.status();
  ASSERT_EQ(index->size(), 2U);
  EXPECT_EQ(index->at("x.safetensors").size(), 2U);
  EXPECT_TRUE(index->at("y.safetensors").contains("b"));
}

TEST(ShardIndexTest, RefusesNamesThatAreNotPlain) {
  for (const char* name : {R"("../x.safetensors")", R"("/x.safetensors")", R"("d/x.safetensors")",
                           R"("..")", R"("x.safetensors/..")", R"("d\\x.safetensors")",
                           R"("x\u0000.safetensors")", R"("x.bin")", R"("")", "1", "null"}) {
    const std::string text = std::string(R"({"weight_map":{"a":)") + name + "}}";
    ExpectRefusal(ParseShardIndex(text, "index").status(),
                  {"index: shard of tensor \"a\" is ", "allowed: the name of a .safetensors file"});
  }
}

TEST(ShardIndexTest, RefusesAMapThatIsNone) {
  ExpectRefusal(ParseShardIndex("{}", "index").status(), {"\"weight_map\" is missing"});
  ExpectRefusal(ParseShardIndex(R"({"weight_map":[]})", "index").status(), {"is []", "an object"});
  ExpectRefusal(ParseShardIndex(R"({"weight_map":{}})", "index").status(), {"is {}"});
  ExpectRefusal(
      ParseShardIndex(R"({"weight_map":{"a":"x.safetensors","a":"y.safetensors"}})", "i").status(),
      {"i: duplicate key \"a\""});
}

}  // namespace
}  // namespace fmaserver::model
