"""Which imports of a pickle are harmless, dangerous, or for people to judge."""

from __future__ import annotations

import sys

import pytest

from adapters.inspection.pickles import Trust, judge_import

# Among these are the imports of picklescan's test files, by the names in its tests.
DANGEROUS = """
    os system|posix system|nt system|os2 system|subprocess Popen|subprocess run
    subprocess check_output|commands getoutput|pty spawn|runpy _run_code|runpy run_path
    builtins eval|builtins exec|builtins compile|builtins getattr|builtins setattr
    builtins __import__|builtins open|builtins map|builtins filter|builtins print|builtins globals
    builtins breakpoint|builtins input|builtins vars|builtins memoryview|builtins staticmethod
    __builtin__ eval|__builtin__ apply|__builtin__ execfile|__builtin__ file|__builtin__ getattr
    importlib import_module|importlib._bootstrap _gcd_import|pkgutil resolve_name
    pickle loads|_pickle loads|cPickle loads|marshal loads|shelve open|dbm open
    copyreg add_extension|copy_reg add_extension|functools reduce|functools partialmethod
    operator attrgetter|operator methodcaller|_operator itemgetter|_operator methodcaller
    types FunctionType|types CodeType|types MethodType|code InteractiveInterpreter
    code InteractiveInterpreter.runcode|codeop compile_command|bdb Bdb|bdb Bdb.run|pdb run
    profile run|profile Profile.run|cProfile run|cProfile runctx|trace Trace.run|timeit timeit
    doctest debug_script|ensurepip _run_pip|venv create|site addsitedir|zipimport zipimporter
    zipapp create_archive|pydoc pipepager|pydoc locate|_pyrepl.pager pipe_pager|_aix_support x
    _osx_support _read_output|uuid _get_command_stdout|imaplib IMAP4_stream
    test.support run_unittest
    asyncio.unix_events _UnixSubprocessTransport._start|multiprocessing Process|ctypes CDLL
    concurrent.futures ThreadPoolExecutor|threading Thread|_thread start_new_thread|_io FileIO
    io open|io FileIO|tempfile NamedTemporaryFile|shutil rmtree|pathlib Path.unlink|glob glob
    logging FileHandler|logging.config dictConfig|logging.config fileConfig|sqlite3 connect
    socket create_connection|ssl get_server_certificate|http.client HTTPSConnection
    httplib HTTPSConnection|urllib.request urlopen|urllib urlopen|urllib2 urlopen|smtplib SMTP
    ftplib FTP|telnetlib Telnet|xmlrpclib ServerProxy|webbrowser open|antigravity x|this x
    cgitb lookup|distutils.file_util write_file|distutils.spawn spawn|idlelib.run Executive.runcode
    idlelib.autocomplete AutoComplete.get_entity|idlelib.calltip get_entity
    idlelib.debugobj ObjectTreeItem.SetText|idlelib.pyshell ModifiedInterpreter.runcommand
    lib2to3.pgen2.grammar Grammar.loads|lib2to3.pgen2.pgen ParserGenerator.make_label
    sys exit|sys modules|gc get_objects|inspect currentframe|ast literal_eval|_winapi CreateProcess
    _posixsubprocess fork_exec|_ctypes dlopen|ctypes.util find_library|compileall compile_dir
    pip main|pip._internal main|setuptools.sandbox run_setup|pkg_resources run_script
    _distutils_hack x|nose.tools x|IPython get_ipython|django.core.management call_command
    requests get|requests.api get|aiohttp.client ClientSession|yaml unsafe_load|paramiko SSHClient
    jinja2 Template|numexpr evaluate|psutil Popen|sh bash|cffi FFI|pytest main
    dill loads|dill._dill loads|dill._dill _get_attr|dill._dill _eval_repr|cloudpickle loads
    joblib load|joblib dump|joblib.memory MemorizedFunc|joblib.parallel Parallel
    joblib.externals.loky x
    numpy load|numpy loadtxt|numpy fromfile|numpy memmap|numpy.core.memmap memmap
    numpy.testing._private.utils runstring|numpy.f2py.crackfortran getlincoef
    numpy.distutils.exec_command exec_command|numpy.ctypeslib load_library|numpy.lib.npyio load
    pandas read_pickle|pandas eval|pandas.io.pickle read_pickle|pandas.io.common get_handle
    pandas.core.computation.eval eval|pandas.compat.pickle_compat load|scipy.io loadmat
    statsmodels.iolib.smpickle load_pickle|sklearn.datasets fetch_openml|sklearn.externals x
    torch load|torch.serialization load|torch.hub load|torch.jit load|torch.package PackageImporter
    torch.fx.graph_module reduce_graph_module|torch.fx GraphModule|torch.utils.collect_env run
    torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression
    torch.jit.unsupported_tensor_ops execWrapper|torch._dynamo.guards GuardBuilder.get
    torch._inductor.codecache compile_file|torch.utils._config_module ConfigModule.load_config
    torch.utils.bottleneck.__main__ run_cprofile
    torch.utils.data.datapipes.utils.decoder basichandlers
    torch.utils.cpp_extension load|torch.distributed.elastic x|torch.multiprocessing spawn
    torch.storage UntypedStorage.from_file|transformers pipelines.pipeline|xgboost.testing x
    mycompany __init__|mycompany.models os.system|mycompany.models __builtins__|mycompany Popen
    mycompany.tools system|mycompany.models Net.forward.__globals__|mycompany nets.forward
    sklearn.svm SVC.__init__|__main__ __loader__
    OS system|Os system|BUILTINS eval|ｏｓ system|Posix system
    os.  system|. system||os |os|a-b c|numpy..core x
"""
ALLOWED = """
    sklearn.ensemble._forest RandomForestClassifier|sklearn.tree._tree Tree|sklearn.svm SVC
    sklearn.utils.validation check_array|scipy.stats._continuous_distns norm_gen|re _compile
    builtins str.lower|numpy percentile|torch._C _VariableFunctionsClass.relu
    sklearn.pipeline Pipeline|sklearn.neighbors._kd_tree newObj|sklearn.metrics._scorer _Scorer
    sklearn._loss._loss __pyx_unpickle_CyHalfBinomialLoss|sklearn.metrics._classification f1_score
    numpy ndarray|numpy dtype|numpy.core.multiarray _reconstruct|numpy._core.multiarray scalar
    numpy.random._pickle __randomstate_ctor|numpy.random._mt19937 MT19937|numpy log1p
    collections OrderedDict|collections defaultdict|_codecs encode|copy_reg _reconstructor
    __builtin__ set|__builtin__ object|builtins int|exceptions ValueError|datetime datetime
    decimal Decimal|uuid UUID|pathlib PurePosixPath|functools partial|builtins type
    joblib.numpy_pickle NumpyArrayWrapper|scipy.sparse._csr csr_matrix|pandas DataFrame
    pandas._libs.internals _unpickle_block|pandas.core.indexes.base _new_Index
    xgboost.sklearn XGBClassifier|xgboost.core Booster|lightgbm.basic Booster|catboost.core CatBoost
    statsmodels.regression.linear_model OLS|imblearn.over_sampling._smote.base SMOTE
    torch FloatStorage|torch bfloat16|torch._utils _rebuild_tensor_v2|torch._utils _rebuild_qtensor
    torch.nn.modules.linear Linear|torch.nn.modules.container Sequential|torch.optim.adam Adam
    torch.nn.functional relu|transformers.training_args TrainingArguments
    transformers.models.bert.modeling_bert BertModel|torchvision.models.resnet ResNet|__torch__ Net
"""
UNKNOWN = """
    __main__ MyModel|__main__ Outer.Inner|mycompany Net|mycompany.models Net|model build_model
    cloudpickle.cloudpickle _make_function|cloudpickle.cloudpickle subimport|dill._dill _create_type
    sklearn.svm SVC.fit|mycompany.models Net.forward|scipy.stats._distn_infrastructure rv_sample
    statsmodels.distributions.discrete DiscretizedCount|torch.utils.data DataLoader
    transformers.models.rag.retrieval_rag LegacyIndex|pandas HDFStore|pandas ExcelWriter
    transformers.models.transfo_xl.tokenization_transfo_xl TransfoXLTokenizer|оs system_
"""


def _pairs(text: str) -> list[tuple[str, str]]:
    lines = [
        entry for line in text.splitlines() if line.strip() for entry in line.strip().split("|")
    ]
    return [(module, name) for module, _, name in (each.rpartition(" ") for each in lines)]


@pytest.mark.parametrize(("module", "name"), _pairs(DANGEROUS))
def test_what_runs_loads_or_reaches_outside_is_dangerous(module: str, name: str) -> None:
    assert judge_import(module, name) is Trust.DANGEROUS


@pytest.mark.parametrize(("module", "name"), _pairs(ALLOWED))
def test_what_only_builds_models_is_allowed(module: str, name: str) -> None:
    assert judge_import(module, name) is Trust.ALLOWED


@pytest.mark.parametrize(("module", "name"), _pairs(UNKNOWN))
def test_what_is_on_no_list_is_for_people_to_judge(module: str, name: str) -> None:
    assert judge_import(module, name) is Trust.UNKNOWN


@pytest.mark.parametrize("module", sorted(sys.stdlib_module_names))
def test_no_module_of_the_standard_library_is_open(module: str) -> None:
    assert judge_import(module, "anything_else") is Trust.DANGEROUS
    assert judge_import(f"{module}.inner", "AnyClass") is Trust.DANGEROUS
