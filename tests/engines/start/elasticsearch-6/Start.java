import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;

import org.codelibs.elasticsearch.runner.node.ClusterRunnerNode;
import org.elasticsearch.analysis.common.CommonAnalysisPlugin;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.index.mapper.MapperExtrasPlugin;
import org.elasticsearch.index.reindex.ReindexPlugin;
import org.elasticsearch.join.ParentJoinPlugin;
import org.elasticsearch.painless.PainlessPlugin;
import org.elasticsearch.percolator.PercolatorPlugin;
import org.elasticsearch.script.mustache.MustachePlugin;
import org.elasticsearch.search.aggregations.matrix.MatrixAggregationPlugin;
import org.elasticsearch.transport.Netty4Plugin;

/** Elasticsearch 6 in this process: settings as {@code key=value} arguments, {@code path.home} among them. */
final class Start {
    public static void main(String[] arguments) throws Exception {
        Settings.Builder settings = Settings.builder();
        for (String argument : arguments) {
            String[] pair = argument.split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        Settings built = settings.build();
        Environment environment = new Environment(built, Path.of(built.get("path.home"), "config"));
        new ClusterRunnerNode(environment, List.of(
            Netty4Plugin.class, CommonAnalysisPlugin.class, MapperExtrasPlugin.class, ReindexPlugin.class,
            ParentJoinPlugin.class, PercolatorPlugin.class, PainlessPlugin.class, MustachePlugin.class,
            MatrixAggregationPlugin.class)).start();
        new CountDownLatch(1).await();
    }
}
