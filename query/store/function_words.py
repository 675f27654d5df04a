"""The words of Spanish and English that say how a question is asked, not what it is about."""

_WORDS = """
a al algo alguna algunas alguno algunos ante antes aquel aquella aquellas aquellos aquí así aun
aunque bajo cada como cómo con contra cual cuál cuales cuáles cualquier cuando cuándo cuanta
cuánta cuantas cuántas cuanto cuánto cuantos cuántos de del desde donde dónde durante e el él
ella ellas ellos en entre era eran eres es esa esas ese eso esos esta está estaba estaban están
estar estas este esto estos fue fueron fui ha haber había habían han has hasta hay he la las le
les lo los más me mi mis mucha muchas mucho muchos muy nada ni no nos nosotros nuestra nuestras
nuestro nuestros o os otra otras otro otros para pero poco por porque porqué pues que qué quien
quién quienes quiénes se sea según ser si sí sido siempre sin sobre sois solo sólo somos son su
sus también tan tanto te tenemos tener tengo ti tiene tienen toda todas todo todos tu tú tus u
un una unas uno unos usted ustedes vosotros y ya yo

about above after again against all also am an and any are as at be because been before being
below between both but by can could did do does doing don down during each few for from further
had has have having he her here hers him his how i if in into is it its itself just me more most
my no nor not of off on once only or other our ours out over own same she should so some such
than that the their theirs them then there these they this those through to too under until up
very was we were what when where which while who whom whose why will with would you your yours
"""

FUNCTION_WORDS = frozenset(_WORDS.split())
"""Folded as `analysis` folds, save for the accents, which they are given with."""
